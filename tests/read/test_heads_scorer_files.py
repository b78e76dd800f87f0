"""How scorers are kept: altered weights, records that do not fit and files that lie are refused."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest
from support import scorers
from support.scorers import scorer_of

safetensors = pytest.importorskip("safetensors.numpy", reason="scorers are kept as safetensors")

from dfndr.errors import FormatError, UsageError  # noqa: E402
from dfndr.heads.scorer import Scorer  # noqa: E402
from dfndr.heads.scorer_train import read_positives, train_scorer  # noqa: E402
from dfndr.heads.scores import open_head  # noqa: E402

planted = scorers.planted


def saved(folder, **given):
    scorer_of(**given).save(folder)
    return json.loads((folder / "scorer.json").read_text())


def test_altered_weights_are_refused(tmp_path):
    saved(tmp_path)
    data = bytearray((tmp_path / "scorer.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "scorer.safetensors").write_bytes(data)
    with pytest.raises(FormatError, match="expected the content that scorer"):
        Scorer.load(tmp_path)


def test_a_scorer_without_weights_is_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "scorer.safetensors").unlink()
    with pytest.raises(FormatError, match="expected a scorer as"):
        Scorer.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "dfndr-scorer/2"},
        {"format": None},
        {"more": 1},
        {"sha256": None},
        {"sha256": ["0" * 64]},
        {"fits": None},
        {"fits": {}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 1 << 60}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 7}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": True}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 8.0}},
        {"fits": {"modality": "image", "encoder": "../enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": "sound", "encoder": "enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": ["image"], "encoder": "enc", "weights_sha256": "0", "dim": 8}},
        {"fits": {"modality": "image", "encoder": "enc", "weights_sha256": "0", "dim": 8, "eval": "1"}},
        {"origin": {}},
        {"origin": []},
        {"origin": {"dataset": "a", "digest": 1, "space": "image/enc", "training": {}, "metrics": {}}},
        {"origin": {"dataset": "a", "digest": "b", "space": "image/enc", "training": [], "metrics": {}}},
        {"origin": {"dataset": "a", "digest": "b", "space": "image/enc", "training": {}, "metrics": {"auc": math.nan}}},
        {"origin": {"dataset": "\ud800", "digest": "b", "space": "image/enc", "training": {}, "metrics": {}}},
    ],
    ids=range(21),
)
def test_a_record_that_does_not_fit_the_weights_or_the_format_is_refused(tmp_path, change):
    record = saved(tmp_path)
    (tmp_path / "scorer.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(FormatError):
        Scorer.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"format": 1', b'{"a": 1, "a": 2}', b"9" * 5000, b" " * 2**25],
    ids=range(9),
)  # fmt: skip
def test_a_record_that_is_no_record_is_refused(tmp_path, text):
    saved(tmp_path)
    (tmp_path / "scorer.json").write_bytes(text)
    with pytest.raises(FormatError):
        Scorer.load(tmp_path)


def header_of(size):
    return size.to_bytes(8, "little")


LYING = json.dumps({"weight": {"dtype": "F64", "shape": [8], "data_offsets": [0, 1 << 50]}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header_of(1 << 60) + b"{}",
        header_of(len(LYING)) + LYING,
        safetensors.save({"weight": np.ones(8)}),
        safetensors.save({"weight": np.ones(8), "bias": np.ones(2)}),
        safetensors.save({"weight": np.ones(8), "bias": np.ones(1), "more": np.ones(1)}),
        safetensors.save({"weight": np.ones((8, 1)), "bias": np.ones(1)}),
        safetensors.save({"weight": np.ones(8, dtype=np.float32), "bias": np.ones(1)}),
        safetensors.save({"weight": np.array([1.0] * 7 + [np.nan]), "bias": np.ones(1)}),
        safetensors.save({"weight": np.ones(8), "bias": np.full(1, np.inf)}),
        b"\x80\x04cos\nsystem\n(S'false'\ntR.",
    ],
    ids=range(11),
)
def test_weights_that_are_not_what_the_record_says_are_refused_even_with_the_right_hash(tmp_path, data):
    record = saved(tmp_path)
    (tmp_path / "scorer.safetensors").write_bytes(data)
    changed = {**record, "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "scorer.json").write_text(json.dumps(changed))
    with pytest.raises(FormatError, match="expected a scorer as"):
        Scorer.load(tmp_path)


def test_a_folder_without_a_head_says_so(tmp_path):
    with pytest.raises(FormatError, match=r"expected a folder with scorer.json, found none. .*train-scorer"):
        Scorer.load(tmp_path)
    with pytest.raises(FormatError, match=r"expected a folder with scorer.json or head.json, found neither"):
        open_head(tmp_path)


def test_a_place_that_holds_something_else_is_refused(planted, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match="a new folder, or one with a scorer"):
            train_scorer(planted, out, labels="good")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_list_of_uids_may_have_comments_and_blank_lines_and_an_error_names_the_line(tmp_path):
    path = tmp_path / "uids.txt"
    path.write_text(f"# mine\n{'A' * 32}\n\n  {'b' * 32}  # the second\n")
    assert read_positives(str(path)) == ["a" * 32, "b" * 32]
    path.write_text(f"{'a' * 32}\nhello\n")
    with pytest.raises(UsageError, match=r"uids.txt, line 2: expected a uid of 32 hex digits, found 'hello'"):
        read_positives(str(path))
