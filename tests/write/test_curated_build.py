"""A whole build with measures, rules, duplicates, decontamination, clusters, fused scores, quotas and lists."""

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from PIL import Image
from support.builds import RECIPE, write_recipe
from support.models import tiny_config
from support.pairs import glyph_table, jpeg

from dfndr.dataset import Dataset, open_dataset
from dfndr.errors import DfndrError
from dfndr.format.manifest import Manifest
from dfndr.verify import verify

CURATION = """
[[measure]]
kind = "image"

[[measure]]
kind = "text"
repair = true

[[score]]
name = "luck"
kind = "random"

[[score]]
name = "mix"
kind = "fusion"
how = "rank"
of = { dfn = 0.7, luck = 0.3 }

[[duplicates]]
kind = "same_image"

[[duplicates]]
kind = "near"
radius = 2

[[decontaminate]]
kind = "near"
radius = 0
pool = [{ kind = "parquet", path = "evaluation.parquet" }]

[cluster]
space = "image/dfn"
count = 3

[[rule]]
use = "text"
leave_out = ["few_words"]

[[rule]]
reason = "very_unlucky"
column = "luck"
lowest = 0.05

[select.quota]
column = "source"
most_share = 0.6

[[select.also]]
by = "dfn"
top_fraction = 0.9
"""


def _bmp(image: bytes) -> bytes:
    """Return the picture in another file: the same pixels, other bytes."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(buffer, "BMP")
    return buffer.getvalue()


def _pool(folder: Path) -> None:
    """Write 260 pairs: glyphs of two sources, the same pictures again, texts that rules drop, and rows that fail."""
    glyphs = glyph_table(200)
    images, texts = glyphs["image"].to_pylist(), glyphs["text"].to_pylist()
    images += images[:20] + [_bmp(image) for image in images[20:40]]
    texts += [f"the very same picture of {text}" for text in texts[:40]]
    images += [jpeg((60, 40), colour=(number, 9, 200)) for number in range(10)] + images[50:55] + [b"", b"no image"]
    texts += [f"IMG_20{number:02d}.jpg" for number in range(10)] + texts[50:55] + ["nothing", "a page"]
    texts[100] = "Click to enlarge: " + texts[100]
    sources = [["web", "book", "book", None][row % 4] for row in range(len(texts))]
    table = pa.table({"image": images, "text": texts, "source": pa.array(sources, pa.string())})
    pq.write_table(table.slice(0, 130), folder / "pool-0.parquet")
    pq.write_table(table.slice(130), folder / "pool-1.parquet")
    pq.write_table(table.slice(60, 8).select(["image", "text"]), folder / "evaluation.parquet")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = tmp_path_factory.mktemp("curated")
    _pool(folder)
    text = RECIPE.format(model=tiny_config(folder).name)
    text = text.replace('kind = "glyphs"\ncount = 2_500\nswap_texts = 0.3', 'kind = "parquet"\npath = "pool-*.parquet"')
    text = text.replace('pretrained = "random:0"', 'pretrained = "random:0"\nvectors = ["image"]', 1)
    text = text.replace('by = "dfn"\ntop_fraction = 0.2', 'by = "mix"\ntop_fraction = 0.5\ndeciles = ["mix"]\n')
    recipe = folder / "recipe.toml"
    recipe.write_text(text + CURATION)
    build(recipe, folder / "out", device="cpu")
    return folder, open_dataset(folder / "out")


def _counts(manifest: Manifest) -> dict[str, int]:
    select = next(step for step in manifest.funnel if step.name == "select")
    return dict(select.dropped)


def test_the_whole_verifies_and_every_step_adds_up_source_by_source(built):
    folder, dataset = built
    assert verify(folder / "out").ok
    for step in dataset.manifest.funnel:
        assert set(step.sources) <= {"", "web", "book"} and step.sources
        assert sum(part.rows_in for part in step.sources.values()) == step.rows_in
        assert sum(part.rows_out for part in step.sources.values()) == step.rows_out
    kept = Counter(source or "" for source in dataset.rows(["source"])["source"].to_pylist())
    assert kept == {name: part.rows_out for name, part in dataset.manifest.funnel[-1].sources.items() if part.rows_out}


def test_each_reason_drops_what_was_planted_for_it(built):
    _, dataset = built
    counts = _counts(dataset.manifest)
    assert counts["duplicate"] == 5
    assert counts["contaminated"] == 8
    assert counts["file_name"] == 10
    assert counts["very_unlucky"] > 0
    assert counts["same_image"] >= 15  # 20 were planted, and a rule may drop either of a pair before
    assert counts["near_duplicate"] >= 10
    assert dataset.manifest.funnel[0].failed == {"image_empty": 1, "image_unreadable": 1}


def test_of_rows_with_one_image_the_one_with_the_best_score_is_the_only_one_left(built):
    folder, dataset = built
    kept = dataset.rows(["sha256"])["sha256"].to_pylist()
    assert len(set(kept)) == len(kept)
    scores = _scores(dataset).rows(["uid", "sha256"])
    sha256 = dict(zip(scores["uid"].to_pylist(), scores["sha256"].to_pylist(), strict=True))
    audit = pq.read_table(folder / "out" / dataset.manifest.files["audit/duplicates"].path).to_pylist()
    same = [row for row in audit if row["reason"] == "same_image"]
    assert same and all(sha256[row["uid"]] == sha256[row["kept_uid"]] for row in same)
    near = [row for row in audit if row["reason"] == "near_duplicate"]
    assert near and all(sha256[row["uid"]] != sha256[row["kept_uid"]] for row in near)


def _scores(dataset: Dataset) -> Dataset:
    return open_dataset(f"{dataset.root}/{dataset.manifest.provenance['scores']}")


def test_the_audit_names_each_duplicate_with_the_row_that_stayed_and_their_distance(built):
    folder, dataset = built
    stored = dataset.manifest.files["audit/duplicates"]
    audit = pq.read_table(folder / "out" / stored.path)
    assert audit.column_names == ["uid", "reason", "kept_uid", "distance"]
    counts = _counts(dataset.manifest)
    expected = {name: counts[name] for name in ("same_image", "near_duplicate") if counts[name]}
    assert Counter(audit["reason"].to_pylist()) == expected
    same = audit.filter(pc.equal(audit["reason"], "same_image"))
    assert set(same["distance"].to_pylist()) == {0.0}
    assert not set(audit["uid"].to_pylist()) & set(dataset.rows(["uid"])["uid"].to_pylist())
    assert not set(audit["uid"].to_pylist()) & set(audit["kept_uid"].to_pylist())


def test_contaminated_rows_are_listed_with_what_they_match(built):
    folder, dataset = built
    listed = pq.read_table(folder / "out" / dataset.manifest.files["audit/contaminated"].path)
    assert len(listed) == 8
    assert set(listed["contaminated_distance"].to_pylist()) == {0.0}
    assert len(set(listed["contaminated_by"].to_pylist())) == 8


def test_measures_fused_scores_deciles_and_clusters_go_with_the_rows_and_groups_do_not(built):
    _, dataset = built
    rows = dataset.rows()
    assert {"words", "phash", "entropy", "luck", "mix", "mix_decile", "cluster", "dfn"} <= set(rows.column_names)
    assert not {"same_image_group", "near_duplicate_group", "contaminated"} & set(rows.column_names)
    assert set(rows["cluster"].to_pylist()) <= {0, 1, 2}
    by_decile = sorted(zip(rows["mix_decile"].to_pylist(), rows["mix"].to_pylist(), strict=True))
    assert [score for _, score in by_decile] == sorted(rows["mix"].to_pylist())
    selection = dataset.manifest.provenance["selection"]
    assert min(rows["mix"].to_pylist()) == pytest.approx(selection["cut"])


def test_a_repaired_text_keeps_the_one_it_was(built):
    _, dataset = built
    texts = _scores(dataset).rows(["text", "original_text"]).to_pylist()
    repaired = texts[100]
    assert repaired["original_text"] == "Click to enlarge: " + repaired["text"]
    assert sum(row["original_text"] is not None for row in texts) == sum(
        row["original_text"] not in (None, row["text"]) for row in texts
    )


def test_no_source_has_more_than_its_quota(built):
    _, dataset = built
    step = dataset.manifest.funnel[1]
    kept = step.rows_out
    assert max(part.rows_out for part in step.sources.values()) <= int(0.6 * kept) + 1


def test_running_it_again_makes_nothing_again_and_gives_the_same_digest(built):
    folder, dataset = built
    phases = folder / "out" / "phases"
    before = {path: path.stat().st_mtime_ns for path in phases.rglob("*.parquet")}
    manifest = build(folder / "recipe.toml", folder / "out", device="cpu")
    assert manifest.digest == dataset.digest
    assert {path: path.stat().st_mtime_ns for path in phases.rglob("*.parquet")} == before


def test_every_phase_left_how_long_it_took(built):
    folder, _ = built
    lines = [json.loads(line) for line in (folder / "out" / "phases" / "timings.jsonl").read_text().splitlines()]
    done = Counter(line["phase"] for line in lines)
    assert done["score"] == done["select"] == done["build"] == done["bank"] == 1
    assert done["duplicates"] == 2
    assert all(line["seconds"] >= 0 and line["rows"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[[score]]\nname = "taste"\nkind = "head"\nhead = "nowhere"\nspace = "image/dfn"\n', "nowhere"),
        ('[[score]]\nname = "quality"\nkind = "text-quality"\nweights = "nowhere"\n', "nowhere"),
        ('[[measure]]\nkind = "language"\nlanguages = ["en"]\n', "two or more languages"),
        ('[[measure]]\nkind = "text"\nban = "nowhere.txt"\n', "nowhere.txt"),
        (
            '[[decontaminate]]\nkind = "semantic"\nspace = "image/dfn"\ncosine = 0.9\n'
            'pool = [{ kind = "parquet", path = "nowhere.parquet" }]\n',
            "nowhere.parquet",
        ),
    ],
)
def test_what_comes_later_and_is_not_there_is_said_before_anything_is_scored(tmp_path, more, says):
    recipe = write_recipe(tmp_path, count="50")
    text = recipe.read_text().replace('pretrained = "random:0"', 'pretrained = "random:0"\nvectors = ["image"]', 1)
    recipe.write_text(text + more)
    with pytest.raises(DfndrError, match=says):
        build(recipe, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").glob("phases/score-*"))


def test_a_list_of_uids_that_is_not_there_is_said_before_anything_is_scored(tmp_path):
    recipe = write_recipe(tmp_path, count="50")
    recipe.write_text(recipe.read_text().replace('by = "dfn"', 'by = "dfn"\nexclude = "nowhere.txt"'))
    with pytest.raises(DfndrError, match=r"nowhere\.txt"):
        build(recipe, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").glob("phases/score-*"))
