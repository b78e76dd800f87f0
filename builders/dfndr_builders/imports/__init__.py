"""Datasets out of what other tools left: vectors that were computed already, with the rows that they belong to."""

from dfndr_builders.imports.opened import open_layout
from dfndr_builders.imports.run import Imported, import_dataset

__all__ = ["Imported", "import_dataset", "open_layout"]
