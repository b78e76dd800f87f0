"""Datasets out of what other tools left: vectors that were computed already, with the rows that they belong to."""

from dfndr_builders.imports.opened import open_import, open_layout
from dfndr_builders.imports.records import Imported
from dfndr_builders.imports.run import Join, import_dataset

__all__ = ["Imported", "Join", "import_dataset", "open_import", "open_layout"]
