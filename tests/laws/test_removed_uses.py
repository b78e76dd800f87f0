"""The law of taking out, for what is made of a dataset: pages, exports, heads and measurements."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from dfndr_builders.exports import export
from dfndr_builders.report.tallies import rows_at
from support.tiny import IMAGE
from support.twins import Twins, write_twins

from dfndr.errors import UsageError
from dfndr.explore.queries import Explorer
from dfndr.explore.values import Filter
from dfndr.heads.evaluate import evaluate_retrieval
from dfndr.heads.model import Head
from dfndr.heads.scorer_train import train_scorer
from dfndr.heads.scores import head_scores
from dfndr.heads.train import train_head

SHARDS = [60, 0, 7, 130, 5]
GONE = [0, 3, 59, *range(60, 67), 70, 133, 196, 201]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return write_twins(tmp_path_factory.mktemp("twins"), SHARDS, GONE, times=2)


def test_what_looks_into_a_dataset_sees_no_removed_row(twins, tmp_path):
    pages = [Explorer(dataset) for dataset in (twins.left, twins.never)]
    shown = [page.browse(Filter(), order="stored", count=1000) for page in pages]
    assert shown[0] == shown[1] and len(shown[0]["samples"]) == len(twins.kept)
    for sample in shown[0]["samples"][::9]:
        assert pages[0].sample(sample["uid"]) == pages[1].sample(sample["uid"])
        assert pages[0].thumbnail(sample["uid"]) == pages[1].thumbnail(sample["uid"])
    for uid in twins.gone:
        for ask in (
            pages[0].sample,
            pages[0].thumbnail,
            twins.left.show,
            pages[0].asking.indexes.of(IMAGE.name).vectors_of,
        ):
            with pytest.raises(UsageError):
                ask(uid)
    places = [(shard, row) for shard, block in enumerate(twins.left.shards) for row in range(block.rows)]
    assert rows_at(twins.left, places) == rows_at(twins.never, places)
    for kind in ("parquet", "atlas", "gallery"):
        written = [tmp_path / f"{name}-{kind}" for name in ("left", "never")]
        for dataset, out in zip((twins.left, twins.never), written, strict=True):
            export(dataset, kind, str(out))
        one, other = ({path.relative_to(out): path for path in sorted(out.rglob("*.parquet"))} for out in written)
        assert list(one) == list(other)
        assert all(pq.read_table(one[name]).equals(pq.read_table(other[name])) for name in one)
        told = "".join(path.read_text() for path in written[0].rglob("*.html"))
        assert not [uid for uid in twins.gone if uid in told]


def test_heads_are_trained_and_measured_on_what_is_left_and_an_old_head_still_works(twins, tmp_path):
    pytest.importorskip("torch", reason="needs torch")
    old = train_head(twins.whole, tmp_path / "old", epochs=1, batch_size=32, device="cpu")
    heads = [train_head(dataset, epochs=1, batch_size=32, device="cpu").head for dataset in (twins.left, twins.never)]
    one, other = (head.state_dict() for head in heads)
    assert all((one[name] == other[name]).all() for name in one)
    for head in (None, Head.load(tmp_path / "old")):
        found, wanted = (evaluate_retrieval(dataset, head=head) for dataset in (twins.left, twins.never))
        assert found == wanted and found.images < evaluate_retrieval(twins.whole).images
    scores = [head_scores(dataset, old.head) for dataset in (twins.left, twins.never)]
    assert (scores[0] == scores[1]).all()
    label = np.arange(len(twins.kept)) % 2 == 0
    fits = [train_scorer(dataset, labels=label, held_out=0.3).scorer for dataset in (twins.left, twins.never)]
    assert (fits[0].weight == fits[1].weight).all()
