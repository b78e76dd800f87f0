"""Engines: each maps a job over units somewhere, and knows nothing else."""
