"""A page on this machine alone for looking at a dataset: search, neighbours, scores, samples, and a list of flags."""
