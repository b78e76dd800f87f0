"""Heads: small trainable maps on cached vectors. Import what you need from `model`, `train` or `evaluate`."""
