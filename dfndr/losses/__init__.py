"""What a model is trained by: contrastive losses, and those that learn from the similarities that teachers see."""
