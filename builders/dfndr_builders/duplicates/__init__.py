"""Duplicate search over a dataset of scores, as derived columns: exact, near and semantic; clusters; contamination."""
