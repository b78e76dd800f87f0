"""What a build does when the accelerator has no memory for its batch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from dfndr_builders.build import build
from support import faults
from support.faults import write_recipe
from support.models import TINY_CONFIG, tiny_config
from support.pairs import jpeg

from dfndr.dataset import open_dataset
from dfndr.encoder import EncoderSpec, open_encoder
from dfndr.errors import ModelError
from dfndr.format.manifest import Manifest
from dfndr.models import load_model
from dfndr.verify import verify

built = faults.built


@pytest.fixture
def out_of_memory() -> Iterator[tuple[str, int]]:
    """A model that has memory for four rows at a time; its name, and that number."""
    name, most = "tiny-out-of-memory", 4
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_text(json.dumps(TINY_CONFIG))
        open_clip.add_model_config(Path(folder) / f"{name}.json")
    model, _, _ = load_model(EncoderSpec("any", name, "random:0"))

    def refuse(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hooks = [part.register_forward_pre_hook(refuse) for part in (model.visual, model.token_embedding)]
    yield name, most
    for hook in hooks:
        hook.remove()
    open_encoder.cache_clear()


def test_out_of_memory_halves_the_batch_for_good_and_changes_no_vector(
    out_of_memory: tuple[str, int], tmp_path: Path
) -> None:
    name, most = out_of_memory
    plain = open_encoder(EncoderSpec("x", str(tiny_config(tmp_path)), "random:0", batch_size=16, device="cpu"))
    pictures = [jpeg(colour=(place * 10, 40, 90)) for place in range(21)]
    texts = [f"number {place}" for place in range(21)]
    encoder = open_encoder(EncoderSpec("x", name, "random:0", batch_size=16, device="cpu"))
    assert not encoder.passes.notes
    np.testing.assert_allclose(
        encoder.encode_images(pictures).vectors, plain.encode_images(pictures).vectors, atol=1e-5
    )
    assert encoder.passes.batch_size == most
    assert encoder.passes.notes == {"batch_size": "halved to 4: the device ran out of memory"}
    np.testing.assert_allclose(encoder.encode_texts(texts).vectors, plain.encode_texts(texts).vectors, atol=1e-5)
    assert encoder.record.batch_size == 16, "the record says what was asked for, and the notes what was done"


def test_out_of_memory_is_noted_in_the_shards_of_a_build(
    out_of_memory: tuple[str, int], built: tuple[Path, Manifest], tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "recipe", ('"tiny.json"', f'"{out_of_memory[0]}"'))
    manifest = build(recipe, tmp_path / "out", device="cpu")
    assert all("tiny batch_size" in shard.notes for shard in manifest.shards[1:])
    assert "halved to 4" in manifest.shards[-1].notes["tiny batch_size"]
    assert verify(str(tmp_path / "out")).ok
    halved, whole = open_dataset(tmp_path / "out"), open_dataset(built[0].parent / "out")
    assert halved.rows(["uid"]) == whole.rows(["uid"])
    np.testing.assert_allclose(halved.vectors("image/tiny"), whole.vectors("image/tiny"), atol=1e-3)


def test_an_out_of_memory_that_halving_cannot_help_is_said(tmp_path: Path) -> None:
    spec = EncoderSpec("x", str(tiny_config(tmp_path)), "random:77", batch_size=4, device="cpu")
    model, _, _ = load_model(spec)

    def refuse(module: torch.nn.Module, given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hook = model.visual.register_forward_pre_hook(refuse)
    encoder = open_encoder(spec)
    with pytest.raises(ModelError, match=r"out of memory.*smaller model, or another device"):
        encoder.encode_images([jpeg()])
    hook.remove()
