"""The report: one page that shows what a build did, from the pool to the dataset."""
