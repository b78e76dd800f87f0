"""A dataset's Croissant metadata (https://docs.mlcommons.org/croissant), made and checked by mlcroissant.

The repository is one file object, the rows of each split and the vectors of each space are sets of files in it; a
record is a row, with its columns as fields. What lies in Parquet can be loaded by any tool that reads Croissant.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dfndr.dataset import Dataset
from dfndr.errors import MissingExtra
from dfndr.format.schema import SPLITS
from dfndr_builders.licenses import normalized

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CROISSANT", "croissant"]

CROISSANT = "croissant.json"
_REPOSITORY = "repo"
_NO_SHA = "https://github.com/mlcommons/croissant/issues/80"
"""What stands for the sha256 of a git repository, which has none; the manifest holds that of every file."""


def croissant(dataset: Dataset, repo_id: str) -> bytes:
    """Return the JSON-LD; raises MissingExtra without mlcroissant."""
    try:
        import mlcroissant as mlc
    except ImportError as error:
        raise MissingExtra.of("mlcroissant", "publish") from error
    manifest, url = dataset.manifest, f"https://huggingface.co/datasets/{repo_id}"
    splits = [split for split in SPLITS if any(shard.split == split for shard in manifest.shards)]
    repository = mlc.FileObject(
        id=_REPOSITORY,
        name=_REPOSITORY,
        description="The repository of the dataset.",
        content_url=f"{url}/tree/main",
        encoding_formats=["git+https"],
        sha256=_NO_SHA,
    )
    files = [_files(f"rows-{split}", f"rows/{split}-*.parquet", "application/x-parquet") for split in splits]
    files += [
        _files(f"{space.name}-{split}".replace("/", "-"), f"{space.name}/{split}-*.npy", "application/x-numpy")
        for space in manifest.spaces
        for split in splits
    ]
    records = [
        mlc.RecordSet(
            id=split,
            name=split,
            description=f"The rows of the split {split}.",
            fields=[_field(split, column) for column in dataset.schema()],
        )
        for split in splits
    ]
    made = mlc.Metadata(
        name=manifest.name,
        description=f"{len(manifest):,} rows of pictures with their texts, chosen from a pool and embedded by dfndr.",
        url=url,
        license=[normalized(manifest.license) or manifest.license],
        version="1.0.0",
        cite_as=f"{manifest.name}, dfndr dataset, digest {manifest.digest}",
        distribution=[repository, *files],
        record_sets=records,
    )
    return (json.dumps(made.to_json(), indent=1, sort_keys=True, default=str) + "\n").encode()


def _files(name: str, includes: str, kind: str) -> Any:  # noqa: ANN401  a FileSet, of an untyped package
    import mlcroissant as mlc

    return mlc.FileSet(id=name, name=name, contained_in=[_REPOSITORY], encoding_formats=[kind], includes=[includes])


def _field(split: str, column: pa.Field) -> Any:  # noqa: ANN401  a Field, of an untyped package
    import mlcroissant as mlc
    import pyarrow as pa

    kind, lists = column.type, pa.types.is_list(column.type)
    inner = kind.value_type if lists else kind
    picture = pa.types.is_struct(inner)
    of = mlc.DataType.TEXT
    for is_kind, data_type in (
        (pa.types.is_boolean, mlc.DataType.BOOL),
        (pa.types.is_integer, mlc.DataType.INT64),
        (pa.types.is_floating, mlc.DataType.FLOAT64),
    ):
        of = data_type if is_kind(inner) else of
    return mlc.Field(
        id=f"{split}/{column.name}",
        name=f"{split}/{column.name}",
        data_types=[mlc.DataType.IMAGE_OBJECT if picture else of],
        repeated=lists or None,
        source=mlc.Source(
            file_set=f"rows-{split}",
            extract=mlc.Extract(column=column.name),
            transforms=[mlc.Transform(json_path="bytes")] if picture else [],
        ),
    )
