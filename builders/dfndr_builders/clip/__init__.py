"""CLIP models, trained by open_clip's own trainer in a process of its own."""
