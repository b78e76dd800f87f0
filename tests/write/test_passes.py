"""Forward passes: in order and never too many in hand, each with its own number of threads, with the same bits."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models import tiny_spec
from support.pairs import jpeg

from dfndr.encoder import Encoder
from dfndr.models import load_model
from dfndr.passes import Passes


def passes(threads: int = 1, at_a_time: int = 2) -> Passes:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dfndr.passes.cores", lambda: threads * at_a_time)
        return Passes("tiny", "cpu", 4, threads)


def test_blocks_come_out_in_order_whichever_pass_ends_first() -> None:
    second_is_done = threading.Event()

    def forward(rows: torch.Tensor) -> torch.Tensor:
        if rows[0, 0] == 0:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return rows * 2

    blocks = [torch.full((2, 3), float(value)) for value in range(4)]
    found = list(passes().over(blocks, forward))
    np.testing.assert_array_equal(np.stack(found), torch.stack(blocks).numpy() * 2)


def test_a_pass_sees_whole_batches_at_its_own_number_of_threads() -> None:
    seen: list[tuple[int, int]] = []

    def forward(rows: torch.Tensor) -> torch.Tensor:
        seen.append((len(rows), torch.get_num_threads()))
        return rows

    rows = torch.arange(10.0)[:, None]
    (found,) = passes(threads=3).over([rows], forward)
    np.testing.assert_array_equal(found, rows.numpy())
    assert seen == [(4, 3), (4, 3), (4, 3)], "the last one is filled up"
    seen.clear()
    list(passes().over([rows], forward, share=2))
    assert [size for size, _ in seen] == [2] * 5


def test_no_more_blocks_are_asked_for_than_passes_and_one() -> None:
    asked = list[int]()

    def blocks() -> Iterator[torch.Tensor]:
        for value in range(9):
            asked.append(value)
            yield torch.full((1, 1), float(value))

    over = passes().over(blocks(), torch.square)
    assert next(over)[0, 0] == 0 and len(asked) == 3
    over.close()
    assert len(asked) == 3


def test_what_goes_wrong_in_a_pass_is_raised_where_it_is_waited_for() -> None:
    def forward(rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(passes().over([torch.zeros(1, 1)], forward))


def test_how_many_passes_run_at_a_time_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, vectors = tiny_spec(tmp_path), []
    pictures = [jpeg(colour=(place * 5, 90, 200 - place)) for place in range(50)]
    texts = [f"number {place} " * (1 + place % 13) for place in range(50)]
    for at_a_time in (1, 4):
        monkeypatch.setattr("dfndr.passes.cores", lambda at_a_time=at_a_time: at_a_time * spec.threads)
        encoder = Encoder(spec, *load_model(spec))
        assert encoder.passes.at_a_time == at_a_time
        vectors.append((encoder.encode_images(pictures).vectors, encoder.encode_texts(texts).vectors))
    for one, other in zip(*vectors, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    from dataclasses import replace

    spec = tiny_spec(tmp_path)
    pictures = [jpeg(colour=(place * 5, 90, 200 - place)) for place in range(50)]
    here, there = (Encoder(replace(spec, device=device), *load_model(spec)) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.encode_images(pictures).vectors, here.encode_images(pictures).vectors, atol=1e-3)
