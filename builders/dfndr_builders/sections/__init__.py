"""What each section of a recipe may say, as strict pydantic models."""
