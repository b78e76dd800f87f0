"""A masked autoencoder of pictures and texts together (M3AE, arXiv 2205.14204): a pair it can restore is a good one."""
