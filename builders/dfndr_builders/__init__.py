"""The write side of dfndr: pools, stages, recipes, engines and the commands that build datasets."""
