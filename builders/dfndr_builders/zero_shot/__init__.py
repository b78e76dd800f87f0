"""How good a CLIP model is at what it was never trained for: zero-shot classification and retrieval on given sets."""
