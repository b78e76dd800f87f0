"""Neighbours within one space: an index, what it finds candidates with, and how it lies on disk."""

from dfndr.search.candidates import Kind
from dfndr.search.index import Index, Neighbors
from dfndr.search.measuring import Measured

__all__ = ["Index", "Kind", "Measured", "Neighbors"]
