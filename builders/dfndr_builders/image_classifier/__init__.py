"""A binary classifier of pictures, good against pool: the image-only filter of arXiv 2309.17425, section 4."""
