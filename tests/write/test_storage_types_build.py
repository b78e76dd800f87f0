"""Storage types in builds, imports and compacted datasets: rounded once from what the encoder gave."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from dfndr_builders.build import build
from dfndr_builders.exports.parquet import export_parquet
from dfndr_builders.removing import compact, remove
from support.builds import RECIPE, write_recipe

from dfndr.dataset import Dataset, open_dataset
from dfndr.format.schema import StorageType
from dfndr.format.storage_types import decode, encode
from dfndr.verify import verify

SMALL = RECIPE.replace("count = 2_500\n", "count = 200\n").replace("swap_texts = 0.3\n", "")
SMALL = SMALL.replace("count = 200 }}", "count = 20 }}")
EMBED = SMALL[SMALL.index("[[embed]]") : SMALL.index("[output]")]
TYPES: tuple[StorageType, ...] = get_args(StorageType)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same encoder four times, once for each storage type."""
    folder = tmp_path_factory.mktemp("types")
    sections = [EMBED.replace('"tiny"', f'"{dtype}"').replace("of = ", f'dtype = "{dtype}"\nof = ') for dtype in TYPES]
    build(write_recipe(folder, text=SMALL.replace(EMBED, "".join(sections))), folder / "out", device="cpu")
    return open_dataset(folder / "out")


@pytest.mark.parametrize("dtype", TYPES)
def test_each_space_holds_what_the_encoder_gave_rounded_once(built: Dataset, dtype: StorageType) -> None:
    for modality in ("image", "text", "caption"):
        exact = built.vectors(f"{modality}/float32")
        assert built.space(f"{modality}/{dtype}").dtype == dtype
        np.testing.assert_array_equal(built.stored(f"{modality}/{dtype}"), encode(exact, dtype))
    assert verify(built.root).findings == ()


def test_rows_taken_out_leave_the_stored_bytes_of_the_others_alone(built: Dataset) -> None:
    before = {name: built.stored(name) for name in built.spaces}
    uids = built.rows(["uid"])["uid"].to_pylist()
    gone = [1, len(uids) - 1]
    remove(built.root, [uids[row] for row in gone], reason="asked to")
    for step in ("removed", "compacted"):
        now = open_dataset(built.root)
        for name, stored in before.items():
            kept = np.delete(stored, gone, axis=0)
            np.testing.assert_array_equal(now.stored(name), kept, err_msg=step)
            whole = np.concatenate([np.asarray(block) for block in now.mapped(name)])
            np.testing.assert_array_equal(whole, decode(kept, now.space(name).dtype))
        assert verify(built.root).ok
        if step == "removed":
            compact(built.root)


def test_parquet_holds_what_readers_see(built: Dataset, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    now = open_dataset(built.root)
    export_parquet(now, str(tmp_path))
    table = pq.read_table(tmp_path / "rows")
    for dtype in TYPES:
        found = dict(zip(table["uid"].to_pylist(), table[f"text__{dtype}"].to_pylist(), strict=True))
        wanted = dict(zip(now.rows(["uid"])["uid"].to_pylist(), now.vectors(f"text/{dtype}")[:, 0], strict=True))
        assert all(np.array_equal(np.array(found[uid]), vector) for uid, vector in wanted.items())
    assert "16 numbers, float32" in (tmp_path / "README.md").read_text()
    assert json.loads((Path(now.root) / "manifest.json").read_text())["spaces"][3]["dtype"] == "bfloat16"
