"""Readers of what dfndr itself writes, and of recipes: whoever sends such files may have changed them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from support.tiny import IMAGE, write_dataset

from benchmarks.faults.files import Opened, Reader, parquet_files
from benchmarks.faults.mutations import either, footer, header, json_tree, words

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OWN"]


def _manifest(folder: Path) -> Opened:
    from dfndr.format.manifest import canonical, read_manifest

    write_dataset(folder, (5, 3))
    path = folder / "manifest.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        canonical(read_manifest(str(folder)).to_json())

    return [path.read_bytes()], read


def _record(folder: Path) -> Opened:
    from dfndr_builders.work import Unit, record_of, records_folder

    (shard,) = write_dataset(folder, (5,)).shards
    path = Path(records_folder(str(folder), "a" * 64)) / "00000.json"
    path.parent.mkdir(parents=True)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        record_of(str(folder), "a" * 64, Unit(0, "train", 0, 5))

    return [json.dumps(shard.to_json(), indent=1).encode()], read


def _npy(folder: Path) -> Opened:
    from dfndr.format.shard import map_vectors

    path = folder / "x.npy"
    np.save(path, np.arange(40, dtype="<f2").reshape(5, 1, 8))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        np.asarray(map_vectors(str(path), IMAGE, 5)).sum()

    return [path.read_bytes()], read


def _rows(folder: Path) -> Opened:
    from dfndr.format.shard import read_parquet

    path = folder / "rows.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_parquet(str(path), 12).to_pylist()

    return parquet_files(), read


def _log(folder: Path) -> Opened:
    from dfndr.format.removed import Entry, read_log, write_log

    stored = write_log(str(folder), [Entry("ab" * 32, "2026-01-31", "asked for")] * 5)
    path = folder / "log.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_log(str(path))

    return [(folder / stored.path).read_bytes()], read


def _index(kind: str, name: str) -> Callable[[Path], Opened]:
    """An index of which one file is damaged and, where that is an array, its sha256 set right in the record."""

    def opened(folder: Path) -> Opened:
        from dfndr.search import Index

        dataset = write_dataset(folder / "set", (40,))
        index = Index.build(dataset, IMAGE.name, kind=kind)
        index.save(str(folder / "index"))
        record, query = folder / "index" / "index.json", dataset.vectors(IMAGE.name, rows=[0])[:, 0]
        whole, told = (folder / "index" / name).read_bytes(), json.loads(record.read_text())

        def read(data: bytes) -> None:
            (folder / "index" / name).write_bytes(data)
            if name != record.name:
                told["files"][name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                record.write_text(json.dumps(told))
            Index.load(str(folder / "index")).search(query, k=3)

        return [whole], read

    return opened


def _head(name: str) -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        from dfndr.heads.model import Head, Origin

        made = Origin("set", "a" * 64, "image/enc", ("text/enc",), 5, {"loss": "clip"}, ({"at": 0},))
        Head("mlp", image_dim=6, text_dim=4, dim=3, origin=made).save(folder)
        return _of_json_and_weights(folder, "head", name, lambda: Head.load(folder))

    return opened


def _scorer(name: str) -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        from dfndr.heads.scorer import Fits, Scorer, ScorerOrigin

        made = ScorerOrigin("set", "a" * 64, "image/enc", {"l2": 1.0}, {"auc": 0.5})
        Scorer(np.arange(8.0), 0.5, Fits("image", "enc", "b" * 64, 8), made).save(folder)
        return _of_json_and_weights(folder, "scorer", name, lambda: Scorer.load(folder))

    return opened


def _of_json_and_weights(folder: Path, stem: str, name: str, load: Callable[[], object]) -> Opened:
    record = folder / f"{stem}.json"
    whole, told = (folder / name).read_bytes(), json.loads(record.read_text())

    def read(data: bytes) -> None:
        (folder / name).write_bytes(data)
        if name != record.name:
            key = "weights_sha256" if "weights_sha256" in told else "sha256"
            record.write_text(json.dumps({**told, key: hashlib.sha256(data).hexdigest()}))
        load()

    return [whole], read


def _recipe(folder: Path) -> Opened:
    from dfndr_builders.recipe_file import read_recipe, shipped_recipe

    path = folder / "recipe.toml"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        _ = read_recipe(path)[0].digest

    names = ("quickstart", "reinforced-tiny", "dfndr-12m")
    return [shipped_recipe(name).read_bytes() for name in names], read


_OF_NPY = either(header(128), words)
OWN = {
    "manifest": Reader(_manifest, json_tree),
    "shard record": Reader(_record, json_tree),
    "npy header": Reader(_npy, _OF_NPY),
    "rows (Parquet)": Reader(_rows, footer),
    "log of removed rows": Reader(_log, footer),
    "index: record": Reader(_index("ivf", "index.json"), json_tree),
    "index: uids": Reader(_index("ivf", "uids.npy"), _OF_NPY),
    "index: lists": Reader(_index("ivf", "assigned.npy"), _OF_NPY),
    "index: centroids": Reader(_index("ivf", "centroids.npy"), _OF_NPY),
    "index: vectors": Reader(_index("numpy", "vectors.npy"), _OF_NPY),
    "head: record": Reader(_head("head.json"), json_tree),
    "head: weights": Reader(_head("head.safetensors"), either(header(400), words)),
    "scorer: record": Reader(_scorer("scorer.json"), json_tree),
    "scorer: weights": Reader(_scorer("scorer.safetensors"), either(header(200), words)),
    "recipe": Reader(_recipe, words),
}
"""By name."""
