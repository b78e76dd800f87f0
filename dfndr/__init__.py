"""dfndr: from a pool of image-text pairs to a small, clean, reinforced dataset with its embeddings already computed.

The names below are loaded when they are first used, so `import dfndr` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfndr.dataset import Dataset, open_dataset
    from dfndr.errors import DfndrError
    from dfndr.format.manifest import Manifest, Shard
    from dfndr.format.schema import Space
    from dfndr.heads.model import Head
    from dfndr.loader import Batch, Loader
    from dfndr.search import Index

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Dataset",
    "DfndrError",
    "Head",
    "Index",
    "Loader",
    "Manifest",
    "Shard",
    "Space",
    "open_dataset",
]

_PLACES = {
    "Batch": "dfndr.loader",
    "Dataset": "dfndr.dataset",
    "DfndrError": "dfndr.errors",
    "Head": "dfndr.heads.model",
    "Index": "dfndr.search",
    "Loader": "dfndr.loader",
    "Manifest": "dfndr.format.manifest",
    "Shard": "dfndr.format.manifest",
    "Space": "dfndr.format.schema",
    "open_dataset": "dfndr.dataset",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'dfndr' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
