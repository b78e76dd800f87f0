"""The claims of "Data Filtering Networks" (arXiv 2309.17425), in small, on CIFAR-10: `python -m benchmarks.claims`."""
