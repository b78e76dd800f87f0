"""Data filtering networks: presets of the paper, fine-tuning, averaging of weights, and the filter's card."""
