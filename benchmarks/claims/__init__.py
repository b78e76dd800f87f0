"""The claims of "Data Filtering Networks" (arXiv 2309.17425), in small, on pictures: `python -m benchmarks.claims`."""
