"""One build with every kind of score, each column against what it should hold, reckoned another way."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dfndr_builders.build import build
from dfndr_builders.image_classifier.model import ImageClassifier
from dfndr_builders.m3ae.model import M3ae
from dfndr_builders.plan import plan
from support import scored
from support.models import tiny_spec
from support.pairs import glyph_table

from dfndr.dataset import open_dataset
from dfndr.encoder import open_encoder
from dfndr.verify import verify

folder, built = scored.folder, scored.built


def _model(folder: Path, kind: str) -> str:
    return str(next((folder / "out" / "models").glob(f"{kind}-*")))


def test_the_build_verifies_and_names_what_it_was_made_with(built):
    folder, dataset, _ = built
    assert verify(folder / "out").ok
    assert set(dataset.manifest.scorers) == {"clip", "frozen"}
    assert dataset.manifest.scorers["frozen"].license == "mit"
    kept = set(dataset.schema().names)
    assert {"clip", "looks", "frozen", "restored", "given", "rated", "like-evaluation", "named"} <= kept
    files = [stored.path for stored in dataset.manifest.files.values()]
    assert any(path.startswith("models/image-classifier-") and path.endswith(".safetensors") for path in files)
    assert any(path.startswith("models/m3ae-") and path.endswith("m3ae.json") for path in files)


def test_every_kind_of_score_holds_what_its_model_says_of_the_pair_alone(built):
    folder, _, rows = built
    texts, uids, pictures = (rows["text"].to_pylist(), rows["uid"].to_pylist(), glyph_table(120)["image"].to_pylist())
    conv = ImageClassifier.load(_model(folder, "image-classifier")).open(batch_size=16, threads=1, device="cpu")
    np.testing.assert_allclose(rows["looks"].to_numpy(), conv(pictures)[0], atol=1e-4)
    spec = tiny_spec(folder, seed=3)
    frozen = ImageClassifier.load(folder / "linear").open(spec)
    np.testing.assert_allclose(rows["frozen"].to_numpy(), frozen(pictures)[0], atol=1e-3)
    restored = M3ae.load(_model(folder, "m3ae")).open(masks=2, seed=7, threads=1, device="cpu")
    np.testing.assert_allclose(rows["restored"].to_numpy(), restored(pictures, texts, uids)[0], atol=1e-4)


def test_a_column_of_the_pool_is_a_score_and_what_is_no_number_fails_by_name(built):
    _, dataset, rows = built
    assert rows["given"].to_pylist() == [
        None if row in (5, 6) else pytest.approx(row / 200, abs=1e-7) for row in range(120)
    ]
    assert rows["rated"].to_pylist() == [None if row == 9 else row + 0.5 for row in range(120)]
    select = next(step for step in dataset.manifest.funnel if step.name == "select")
    assert select.failed == {"score_not_finite": 2}  # the ratings are not used by selection, so row 9 is no failure


def test_a_text_counts_where_one_of_its_words_is_on_the_list(built):
    folder, dataset, rows = built
    words = {line.lower() for line in (folder / "words.txt").read_text().split()}
    by_hand = [float(any(word in words for word in text.lower().split())) for text in rows["text"].to_pylist()]
    assert rows["named"].to_pylist() == by_hand and 0 < sum(by_hand) < 120
    assert set(dataset.rows(["named"])["named"].to_pylist()) == {1.0}


def test_a_picture_counts_where_it_shares_a_cluster_with_a_reference(built):
    folder, _, rows = built
    from dfndr_builders.duplicates.cosine import on_grid
    from dfndr_builders.duplicates.kmeans import Sample, train

    from dfndr.progress import SILENT

    scores = open_dataset(folder / "out" / str(open_dataset(folder / "out").manifest.provenance["scores"]))
    centroids = train(Sample.of(scores, "image/clip", 7, 6, SILENT).vectors, 6, SILENT, rounds=20)
    references = [image.as_py() for image in glyph_table(120)["image"].slice(20, 3)]
    vectors = open_encoder(tiny_spec(folder)).encode_images(references).vectors
    chosen = {int((on_grid(vector[None]) @ centroids.T).argmax()) for vector in vectors}
    own = [int((on_grid(row[None]) @ centroids.T).argmax()) for row in scores.vectors("image/clip")[:, 0]]
    by_hand = [float(cluster in chosen) for cluster in own]
    assert rows["like-evaluation"].to_pylist() == by_hand and 3 <= sum(by_hand) < 120


def test_what_matches_an_evaluation_picture_by_its_vector_is_dropped_and_listed(built):
    folder, dataset, rows = built
    vectors = open_dataset(folder / "out" / str(dataset.manifest.provenance["scores"])).vectors("image/clip")[:, 0]
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    near = (wide @ wide[20:23].T).max(axis=1) >= 0.99999
    assert near[20:23].all()
    select = next(step for step in dataset.manifest.funnel if step.name == "select")
    finite = np.array([row not in (5, 6) for row in range(120)])
    assert select.dropped["contaminated"] == int((near & finite).sum())
    audit = next((folder / "out" / "audit").glob("contaminated-*.parquet"))
    listed = pq.read_table(audit)
    assert set(listed["uid"].to_pylist()) == {
        uid for uid, hit in zip(rows["uid"].to_pylist(), near, strict=True) if hit
    }
    assert not set(listed["uid"].to_pylist()) & set(dataset.rows(["uid"])["uid"].to_pylist())


def test_the_plan_and_the_card_tell_how_each_score_is_made(built):
    folder, _, _ = built
    told = str(plan(folder / "recipe.toml"))
    assert "train an image classifier, conv: 512 samples seen" in told
    assert "train a masked autoencoder: 512 samples seen" in told
    assert "looks: image classifier, recipe:image-classifier" in told
    page = (folder / "out" / "README.md").read_text()
    for words in (
        "the log-odds that the picture is one of the good ones",
        "minus the loss of a masked autoencoder over hidden patches and words, the mean of 2 masks",
        "the pool's own column similarity",
        "1 where one of 6 clusters of image/clip holds the picture and a reference picture",
        "1 where a word of the text is on the list words.txt",
        "the weighted sum, each in its own standard deviations, of clip (weight 1), given (weight 1)",
    ):
        assert words in page


def test_building_again_trains_and_scores_nothing_again(built):
    folder, dataset, _ = built
    lines = (folder / "out" / "phases" / "timings.jsonl").read_text().splitlines()
    again = build(folder / "recipe.toml", folder / "out", device="cpu")
    assert again.digest == dataset.digest
    assert (folder / "out" / "phases" / "timings.jsonl").read_text().splitlines()[: len(lines)] == lines
