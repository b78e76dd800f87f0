"""Scorers: stages that add one float32 column, higher for a better pair."""
