"""Readers of what pools and imports are made of: files of strangers, of which much is damaged without any intent."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from support.layouts import reinforced, unit, vectors_of_sample, write_clip_retrieval, write_tar
from support.pools import picture, tar_of

from benchmarks.faults.files import UIDS, Opened, Reader, all_rows, parquet_files
from benchmarks.faults.mutations import (
    anywhere,
    either,
    footer,
    header,
    json_tree,
    tar_headers,
    unpacked,
    words,
    zipped,
)

__all__ = ["POOLS"]


def _tar(packing: str = "") -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        from dfndr_builders.pools.webdataset import WebDatasetPool

        path = folder / "pool.tar"
        members: list[tuple[str, object]] = [("a" * 150 + ".txt", "a long name")]
        for place, uid in enumerate(UIDS[:4]):
            about = {"uid": uid, "n": place, "source": "web"}
            members += [(f"{place}.png", picture()), (f"{place}.txt", f"text {place}"), (f"{place}.json", about)]

        def read(data: bytes) -> None:
            path.write_bytes(data)
            all_rows(WebDatasetPool((str(path),), uid="json:uid", keep=("n",)))

        return [tar_of(members, f"w{packing}")], read

    return opened


def _parquet(folder: Path) -> Opened:
    from dfndr_builders.pools.parquet import ParquetPool

    path = folder / "pool.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        all_rows(ParquetPool((str(path),), keep=("captions",), uid="uid"))

    return parquet_files(), read


def _sample_json(folder: Path) -> Opened:
    from dfndr_builders.pools.parts import PartsPool

    pool = PartsPool(("x",), text="json:text", keep=("about",), uid="json:uid")

    def read(data: bytes) -> None:
        for sample in pool.samples("key", {"png": b"x", "json": data}):
            sample.row()

    return [b'{"uid": "' + UIDS[0].encode() + b'", "text": ["one", "two"], "about": {"n": [1.5, null]}}'], read


def _imported(kind: str, path: Path, dim: int = 0) -> None:
    from dfndr_builders.imports import open_layout
    from dfndr_builders.imports.layout import Teacher

    layout = open_layout(kind, str(path), (Teacher("enc", "ViT-B-32", "openai", dim),))  # type: ignore[arg-type]
    for shard in layout.shards():
        layout.uids(shard)
    all_rows(layout)


def _vectors(folder: Path) -> Opened:
    path = folder / "rows.parquet"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        _imported("parquet", path)

    return parquet_files(), read


def _samples(as_pth: bool = False) -> list[list[tuple[str, bytes]]]:
    given = [vectors_of_sample(number, dims=(6,), views=2, captions=2) for number in range(3)]
    return [
        reinforced(UIDS[number], vectors, as_pth=as_pth, paug="string" if number else "list")
        for number, vectors in enumerate(given)
    ]


def _reinforced(folder: Path) -> Opened:
    path = folder / "0.tar"
    whole = write_tar(path, [member for sample in _samples() for member in sample]).read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        _imported("dr", path, 6)

    return [whole], read


def _arrays(suffix: str) -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        from dfndr_builders.imports.sample import Sample, arrays_of

        members = {name.partition(".")[2]: data for name, data in _samples(as_pth=suffix == "pth.gz")[0]}

        def read(data: bytes) -> None:
            arrays_of(Sample("x", 0, {f".{suffix}": data, ".syn.json": members["syn.json"]}))

        return [members[suffix]], read

    return opened


def _captions(folder: Path) -> Opened:
    from dfndr_builders.imports.sample import Sample, arrays_of, json_of, uid_of_sample

    members = {name.partition(".")[2]: data for name, data in _samples()[0]}

    def read(data: bytes) -> None:
        sample = Sample("x", 0, {".npz": members["npz"], ".syn.json": data, ".json": data})
        uid_of_sample(sample, json_of(sample, ".json"))
        arrays_of(sample)

    return [members["syn.json"], members["json"]], read


def _views(folder: Path) -> Opened:
    from dfndr_builders.imports.sample import Sample, json_of

    from dfndr.errors import DataError
    from dfndr.views import parse_views

    def read(data: bytes) -> None:
        told = json_of(Sample("x", 0, {".paug.json": data}), ".paug.json").get("param_aug", "")
        for given in (told, data.decode("utf-8", "replace")):
            try:
                for view in parse_views(given):
                    view.to_json()
            except DataError:
                continue

    return [data for sample in _samples() for name, data in sample if name.endswith(".paug.json")], read


def _partition(name: str) -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        write_clip_retrieval(folder, (12,))

        def read(data: bytes) -> None:
            (folder / name).write_bytes(data)
            _imported("clip-retrieval", folder)

        return [(folder / name).read_bytes()], read

    return opened


def _uids(suffix: str) -> Callable[[Path], Opened]:
    def opened(folder: Path) -> Opened:
        from dfndr_builders.uid_lists import read_uids, write_uids

        from dfndr.format.uid import pack_uids

        path = folder / f"list.{suffix}"
        write_uids(str(path), pack_uids(UIDS, "here"))
        whole = [path.read_bytes()]
        whole += {"npy": [whole[0][128:]], "parquet": parquet_files()}.get(suffix, [])

        def read(data: bytes) -> None:
            path.write_bytes(data)
            read_uids(str(path))

        return whole, read

    return opened


def _pictures(folder: Path) -> Opened:
    from dfndr.images import BadImage, decode, inspect, thumbnail

    def read(data: bytes) -> None:
        try:
            inspect(data, max_pixels=1_000_000)
            thumbnail(decode(data, max_pixels=1_000_000, short_side=8), 8)
        except BadImage:
            return

    noise = Image.frombytes("RGB", (24, 20), unit(24 * 20, 3, 1).tobytes()[: 24 * 20 * 3])
    whole = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        file = io.BytesIO()
        noise.save(file, kind, **({"exif": Image.Exif()} if kind in ("JPEG", "PNG", "WEBP") else {}))
        whole.append(file.getvalue())
    return whole, read


POOLS = {
    "pool: tar": Reader(_tar(), tar_headers),
    "pool: tar.gz": Reader(_tar(":gz"), unpacked(tar_headers)),
    "pool: tar.xz": Reader(_tar(":xz"), anywhere),
    "pool: Parquet": Reader(_parquet, footer),
    "pool: json": Reader(_sample_json, json_tree),
    "pool: pictures": Reader(_pictures, either(header(64), anywhere)),
    "dr: tar": Reader(_reinforced, tar_headers),
    "dr: npz": Reader(_arrays("npz"), zipped(either(header(128), words))),
    "dr: pth.gz": Reader(_arrays("pth.gz"), unpacked(zipped(anywhere))),
    "dr: syn.json": Reader(_captions, json_tree),
    "dr: paug.json": Reader(_views, json_tree),
    "clip-retrieval: npy": Reader(_partition("img_emb/img_emb_0.npy"), either(header(128), words)),
    "clip-retrieval: metadata": Reader(_partition("metadata/metadata_0.parquet"), footer),
    "parquet with vectors": Reader(_vectors, footer),
    "uids: txt": Reader(_uids("txt"), words),
    "uids: npy": Reader(_uids("npy"), either(header(128), words)),
    "uids: Parquet": Reader(_uids("parquet"), footer),
}
"""By name."""
