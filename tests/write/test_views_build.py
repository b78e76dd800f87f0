"""Views in a build: drawn once, embedded one by one, and in the way of nothing that was there before."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dfndr_builders.build import build
from dfndr_builders.card import card
from dfndr_builders.plan import plan
from dfndr_builders.pools.glyphs import GlyphsPool
from dfndr_builders.recipe import Recipe
from dfndr_builders.recipe_file import read_recipe
from PIL import Image
from support.builds import RECIPE, write_recipe
from support.documented import blocks
from support.models import tiny_spec
from support.pairs import jpeg

from dfndr import Index, Loader
from dfndr.dataset import Dataset, open_dataset
from dfndr.encoder import open_encoder
from dfndr.errors import DataError, RecipeError
from dfndr.format.manifest import read_manifest
from dfndr.images import decode
from dfndr.verify import verify
from dfndr.views import Sampler, View, apply, parse_views, replay

ROOT = Path(__file__).parents[2]
SMALL = RECIPE.replace("count = 2_500\n", "count = 400\n").replace("swap_texts = 0.3\n", "")
VIEWS = "\n[views]\ncount = 3\nplain_first = true\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[Path, int]]:
    """A build without views, then with: the recipe, the output, and when the first one's files were written."""
    folder = tmp_path_factory.mktemp("views")
    out = folder / "out"
    build(write_recipe(folder, text=SMALL), out, device="cpu")
    before = {path: path.stat().st_mtime_ns for path in (out / "phases").rglob("*") if path.is_file()}
    recipe = write_recipe(folder, text=SMALL + VIEWS)
    build(recipe, out, device="cpu", replace=True)
    return recipe, out, before


def pictures() -> dict[str, bytes]:
    pool = GlyphsPool(count=400, seed=7)
    whole = pa.concat_tables([table for shard in pool.shards() for table in pool.read(shard)])
    return dict(zip(whole["uid"].to_pylist(), whole["image"].to_pylist(), strict=True))


def told(dataset: Dataset) -> list[dict[str, object]]:
    return dataset.rows(["uid", "views", "width", "height", "sha256"]).to_pylist()


def test_views_are_those_of_seed_and_uid_and_are_replayed_from_the_row(built: tuple[Path, Path, object]) -> None:
    dataset, files = open_dataset(built[1]), pictures()
    for row in told(dataset)[::9]:
        views = Sampler(count=3, plain_first=True).views(7, str(row["uid"]), (32, 32))
        assert row["views"] == [view.to_json() for view in views]
        seen = replay(files[str(row["uid"])], row, size=32)
        assert [one.tobytes() for one in seen] == [
            apply(view, decode(files[str(row["uid"])]), size=32).tobytes() for view in views
        ]


def test_a_vector_for_each_view_is_what_the_encoder_says_of_the_replayed_picture(
    built: tuple[Path, Path, object],
) -> None:
    dataset, files = open_dataset(built[1]), pictures()
    assert (dataset.space("image/tiny").per_row, dataset.space("text/tiny").per_row) == (3, 1)
    encoder = open_encoder(tiny_spec(built[0].parent, seed=1))
    rows, vectors = told(dataset)[::9], dataset.vectors("image/tiny")[::9]
    for place in range(3):
        drawn = [replay(files[str(row["uid"])], row, size=32)[place] for row in rows]
        known = encoder.encode_images([_png(picture) for picture in drawn]).vectors
        np.testing.assert_allclose(vectors[:, place], known, atol=2e-3)
    whole = encoder.encode_images([files[str(row["uid"])] for row in rows]).vectors
    np.testing.assert_allclose(vectors[:, 0], whole, atol=2e-3)  # square pictures: the plain view is the picture
    assert np.abs(vectors[:, 1] - whole).max() > 0.05


def _png(picture: Image.Image) -> bytes:
    import io

    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_adding_views_scores_and_selects_nothing_again(built: tuple[Path, Path, dict[Path, int]]) -> None:
    _, out, before = built
    kept = {path: when for path, when in before.items() if path.suffix in (".parquet", ".npy")}
    assert kept and all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert sorted({path.parent.name.split("-")[0] for path in (out / "phases").glob("*/manifest.json")}) == [
        "bank",
        "score",
    ]
    assert len(list((out / "phases").glob("score-*"))) == len(list((out / "phases").glob("select-*"))) == 1


def test_a_further_view_changes_none_of_those_before(built: tuple[Path, Path, object], tmp_path: Path) -> None:
    build(write_recipe(tmp_path, text=SMALL + VIEWS.replace("count = 3", "count = 4")), tmp_path / "out", device="cpu")
    fewer, more = open_dataset(built[1]), open_dataset(tmp_path / "out")
    assert [row["views"] for row in told(fewer)] == [row["views"][:3] for row in told(more)]  # type: ignore[index]
    np.testing.assert_allclose(more.vectors("image/tiny")[:, :3], fewer.vectors("image/tiny"), atol=2e-3)


def test_what_was_built_verifies_loads_and_is_searched_by_its_best_view(built: tuple[Path, Path, object]) -> None:
    dataset = open_dataset(built[1])
    assert verify(built[1]).ok
    vectors = dataset.vectors("image/tiny").astype(np.float64)
    batch = next(iter(Loader(dataset, ["image/tiny"], columns=["uid", "views"], batch_size=40, framework="numpy")))
    assert set(batch.places["image/tiny"]) == {0, 1, 2}
    for row, place, vector in zip(batch.rows, batch.places["image/tiny"], batch["image/tiny"], strict=True):
        assert (vector == dataset.vectors("image/tiny")[row, place]).all()
    index = Index.build(dataset, "image/tiny", kind="numpy")
    found = index.search(vectors[5, 2:3], k=4)
    best = (vectors @ vectors[5, 2] / np.linalg.norm(vectors, axis=2)).max(axis=1)
    uids = dataset.rows(["uid"])["uid"].to_pylist()
    assert list(found.uids[0]) == [uids[row] for row in np.argsort(-best, kind="stable")[:4]]


def test_the_card_and_the_plan_tell_of_views(built: tuple[Path, Path, object]) -> None:
    page = card(read_manifest(str(built[1])))
    assert "views of the picture as parameters" in page and "vectors of each view of the picture" in page
    phases = "\n".join(plan(built[0]).phases)
    assert "draw 3 views of each picture: a crop and 2 operation(s), the first of them plain" in phases
    assert "3 forward passes for each row by tiny, 3 million for a million rows" in phases


def test_the_example_in_the_docs_runs(
    built: tuple[Path, Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "views.md").read_text(encoding="utf-8")
    (tmp_path / "my-set").symlink_to(built[1])
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"pictures": pictures()}
    exec("\n".join(blocks(page, "python")), names)
    assert [picture.size for picture in names["views"]] == [(224, 224)] * 3  # type: ignore[attr-defined]
    (block,) = blocks(page, "toml")
    assert tomllib.loads(block) == {"views": {"count": 5}}
    (form, *_) = blocks(page, "")
    assert str(parse_views([form.splitlines()[0]])[0]) == "ShearY -0.09, TranslateY -30.45"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("count = 0", "count"),
        ("crop_scale = [0.5, 1.5]", "crop_scale"),
        ("crop_scale = [0.5, 0.4]", "crop_scale"),
        ("ratio = [0, 1]", "ratio"),
        ("operations = 3", "operations"),
        ("magnitude = 31", "magnitude"),
        ("views = 3", "count"),
    ],
)
def test_views_that_cannot_be_are_refused(tmp_path: Path, wrong: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write_recipe(tmp_path, text=SMALL + f"\n[views]\n{wrong}\n"))
    assert "views" in caught.value.where and told in str(caught.value), str(caught.value)


def test_the_plan_counts_passes_where_the_number_of_rows_is_known(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, text=SMALL.replace("top_fraction = 0.2", "count = 50") + VIEWS)
    assert "150 in all for 50 rows" in "\n".join(plan(recipe).phases)
    bare: Recipe = read_recipe(write_recipe(tmp_path, text=SMALL))[0]
    assert bare.views is None and "views" not in "\n".join(plan(write_recipe(tmp_path, text=SMALL)).phases)


def test_views_of_a_picture_that_cannot_be_decoded_have_its_reason_and_others_are_not_moved(tmp_path: Path) -> None:
    encoder = open_encoder(tiny_spec(tmp_path, batch_size=8))
    files = [jpeg((40, 30), colour=(place * 9, 200 - place * 7, 40)) for place in range(7)]
    files[2] = files[2][:100]
    views = [Sampler(count=1 + place % 3).views(0, str(place), (40, 30)) for place in range(7)]
    encoded = encoder.encode_views(files, views)
    starts = np.cumsum([0, *map(len, views)])
    assert len(encoded.vectors) == starts[-1]
    assert set(encoded.problems) == set(range(starts[2], starts[3]))
    assert {reason for reason, _ in encoded.problems.values()} == {"image_unreadable"}
    for place in (0, 1, 3, 4, 5, 6):
        alone = encoder.encode_views([files[place]], [views[place]])
        np.testing.assert_allclose(encoded.vectors[starts[place] : starts[place + 1]], alone.vectors, atol=1e-5)
    with pytest.raises(DataError, match="a box inside the picture"):
        encoder.encode_views([files[0]], [[View(0, 0, 31, 40)]])


def test_bytes_of_parameters_are_few(built: tuple[Path, Path, object]) -> None:
    views = Sampler(count=30).views(0, "a" * 32, (640, 480))
    whole = json.dumps([json.loads(view.to_json()) for view in views], separators=(",", ":"))
    assert len(whole) < 30 * 75
