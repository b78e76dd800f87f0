"""A pool that a user names by its path alone."""

from __future__ import annotations

from dfndr import storage
from dfndr_builders.pools.base import Pool
from dfndr_builders.pools.folder import FolderPool
from dfndr_builders.pools.parquet import ParquetPool
from dfndr_builders.pools.webdataset import WebDatasetPool

__all__ = ["plain_pool"]


def plain_pool(path: str) -> Pool:
    """Return the pool at a folder of pictures with texts beside them, or at a pattern of `.parquet` files or tars."""
    if storage.is_folder(path):
        return FolderPool((path,))
    return ParquetPool((path,)) if path.endswith(".parquet") else WebDatasetPool((path,))
