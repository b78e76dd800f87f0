"""Captions: what writes them, the rules they have to keep, and the stage that asks, asks again, scores and keeps."""
