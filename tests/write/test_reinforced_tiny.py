"""The tiny recipe of a reinforced dataset, built: what its teachers say can be read, and a head learns from it."""

from pathlib import Path

import numpy as np
import pytest
from dfndr_builders.build import build
from dfndr_builders.recipe_file import read_recipe

from dfndr import Loader
from dfndr.dataset import Dataset, open_dataset
from dfndr.heads.train import train_head
from dfndr.verify import verify

RECIPES = Path(__file__).parents[2] / "builders" / "recipes"
TEACHERS = {"vit-32": (32, (32, 32), "float16", 20), "vit-48": (48, (48, 48), "int8", 10)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("reinforced") / "out"
    build(RECIPES / "reinforced-tiny.toml", folder, device="cpu")
    return open_dataset(folder)


def test_it_has_the_parts_of_apples_recipe() -> None:
    small, large = (read_recipe(RECIPES / f"{name}.toml")[0] for name in ("reinforced-tiny", "dfndr-12m"))
    for recipe in (small, large):
        assert len(recipe.embed) == 2 and recipe.views is not None and recipe.caption
        assert all(one.of == ["image", "text", "caption"] and one.distillation_scale for one in recipe.embed)


def test_each_teacher_has_spaces_of_its_own_dim_resolution_storage_and_scale(built: Dataset) -> None:
    assert verify(built.root).findings == () and len(built) == 48
    for name, (dim, size, dtype, scale) in TEACHERS.items():
        record = built.manifest.encoders[name]
        assert (record.dim, record.preprocess.size, record.teaching_scale) == (dim, size, scale)
        for modality, places in (("image", 3), ("text", 1), ("caption", 2)):
            assert built.space(f"{modality}/{name}").dtype == dtype
            vectors = built.vectors(f"{modality}/{name}").astype(np.float64)
            assert vectors.shape == (48, places, dim)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, atol=2e-3)


def test_a_loader_gives_both_teachers_the_same_view_and_caption_of_a_row(built: Dataset) -> None:
    names = [f"{modality}/{teacher}" for modality in ("image", "caption") for teacher in TEACHERS]
    batch = next(iter(Loader(built, names, batch_size=16, framework="numpy")))
    for name in names:
        stored, same = built.vectors(name), batch.places[name.replace("vit-48", "vit-32")]
        np.testing.assert_array_equal(batch.places[name], same)
        np.testing.assert_array_equal(batch[name], stored[batch.rows, same])


def test_a_head_learns_from_its_vectors(built: Dataset) -> None:
    options = {"steps": 150, "batch_size": 16, "learning_rate": 1e-2, "seed": 0, "device": "cpu"}
    trained = train_head(built.split("train"), image="image/vit-48", text=["text/vit-48"], **options)
    head = trained.head.cpu()
    images, texts = (built.vectors(f"{kind}/vit-48")[:, 0].astype(np.float32) for kind in ("image", "text"))

    def right(image: np.ndarray, text: np.ndarray) -> float:
        """By how much a text is nearer to its own picture than to the others."""
        return float(np.mean((image * text).sum(axis=1) - (image @ text.T).mean(axis=1)))

    assert right(head.encode_image(images), head.encode_text(texts)) > right(images, texts) + 0.03
