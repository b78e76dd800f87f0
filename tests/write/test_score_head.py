"""The score of a trained head as a derived column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.tiny import CAPTION, IMAGE, write_dataset

pytest.importorskip("safetensors", reason="scorers are kept as safetensors")

from dfndr_builders.score.head import HeadScore

from dfndr.heads.scorer import Fits, Scorer
from dfndr.heads.scores import head_scores


def test_a_heads_score_is_a_column_beside_each_shard_and_null_where_a_row_has_no_vector(tmp_path):
    captions = pa.array([["caption"] * (row % 3) for row in range(9)], pa.list_(pa.string()))
    scores = write_dataset(tmp_path / "scores", [4, 0, 5], (IMAGE, CAPTION), columns={"captions": captions})
    fits = Fits.of(scores, scores.space("caption/enc"))
    Scorer(np.arange(8.0), 0.5, fits).save(tmp_path / "scorer")
    derived = HeadScore("safe", str(tmp_path / "scorer"), "caption/enc")
    tables = list(derived.tables(scores))
    assert [len(table) for table in tables] == [4, 0, 5]
    assert all(list(table.schema) == derived.fields() for table in tables)
    expected = head_scores(scores, tmp_path / "scorer", space="caption/enc")
    found = pa.concat_tables(tables)["safe"].to_pylist()
    assert found == [None if np.isnan(score) else float(score) for score in expected]
    assert found.count(None) == 3
