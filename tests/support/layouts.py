"""What other tools leave, in small: a folder of clip-retrieval, tars of reinforced samples."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

Member = tuple[str, bytes]


def unit(rows: int, dim: int, seed: int, dtype: str = "float16") -> npt.NDArray[np.floating[Any]]:
    """Return random unit vectors."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def write_clip_retrieval(folder: Path, sizes: Sequence[int], *, dim: int = 8, texts: bool = True) -> Path:
    """Write partitions of so many rows as `clip-retrieval inference` does."""
    for number, rows in enumerate(sizes):
        for name in ("img_emb", *(["text_emb"] if texts else [])):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{name}_{number}.npy", unit(rows, dim, 2 * number + (name == "text_emb")))
        (folder / "metadata").mkdir(exist_ok=True)
        keys = [f"{number:05d}{row:04d}" for row in range(rows)]
        about = {
            "image_path": keys,
            "caption": [f"caption {key}" for key in keys],
            "url": [f"https://example.org/{key}.jpg" for key in keys],
            "width": pa.array(range(rows), pa.int64()),
        }
        pq.write_table(pa.table(about), folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    """Return a compressed archive of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pth(payload: object) -> bytes:
    """Return what `torch.save` writes, gzipped; nothing but tests writes such files."""
    file = io.BytesIO()
    torch.save(payload, file)
    return gzip.compress(file.getvalue())


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    """Write members in order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def vectors_of_sample(seed: int, *, dims: Sequence[int], views: int, captions: int) -> dict[str, npt.NDArray[Any]]:
    """Return `image_emb`, `text_emb` and `caption_emb` of one sample: unit vectors of each teacher, side by side."""

    def joined(rows: int, salt: int) -> npt.NDArray[Any]:
        blocks = [unit(rows, dim, 1000 * seed + 10 * salt + place, "float32") for place, dim in enumerate(dims)]
        return np.concatenate(blocks, axis=1)

    return {"image_emb": joined(views, 1), "text_emb": joined(1, 2), "caption_emb": joined(captions, 3)}


def reinforced(
    uid: str, vectors: dict[str, npt.NDArray[Any]], *, legacy: bool = False, as_pth: bool = False, paug: str = "list"
) -> list[Member]:
    """Return the members of a sample, as DFNDR has them or, with `legacy`, DataCompDR; `paug`: list, string or none."""
    key = "syn_text" if legacy else "syn_text_dfn_mscoco38k"
    arrays = {name: vectors[name] for name in ("image_emb", "text_emb")}
    if legacy:
        arrays["text_emb"] = np.concatenate([vectors["text_emb"], vectors["caption_emb"]])
    else:
        arrays[f"{key}_emb"] = vectors["caption_emb"]
    data = npz(**arrays)
    if as_pth:
        data = pth({name: torch.from_numpy(array).bfloat16() for name, array in arrays.items()})
    captions = [f"synthetic {number} of {uid[:4]}" for number in range(len(vectors["caption_emb"]))]
    views = [[[1, 2, 30, 40], [[2, -0.09000000357627869], [0, 0.0]]]] * len(vectors["image_emb"])
    members = [
        (f"{uid}.url.txt", f"https://example.org/{uid}".encode()),
        (f"{uid}.syn.json", json.dumps({key: captions}).encode()),
        (f"{uid}.pth.gz" if as_pth else f"{uid}.npz", data),
        (f"{uid}.json", json.dumps({"uid": uid, "sha256": "ab" * 32}).encode()),
    ]
    if paug != "none":
        told = views if paug == "list" else json.dumps(views)
        members.insert(2, (f"{uid}.paug.json", json.dumps({"param_aug": told}).encode()))
    return members
