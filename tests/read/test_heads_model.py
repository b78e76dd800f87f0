"""The head: what it does to vectors before it is trained, and how it is kept."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="heads need torch")
pytest.importorskip("safetensors", reason="heads are kept as safetensors")

from dfndr.errors import FormatError, UsageError  # noqa: E402
from dfndr.heads.model import Head, Origin  # noqa: E402
from dfndr.seeds import rng_for  # noqa: E402

ORIGIN = Origin("tiny", "0" * 64, "image/enc", ("text/enc",), 3, {"seed": 7}, ({"text": "text/enc", "after": None},))


def vectors(rows=5, dim=8):
    return rng_for(0, "vectors").standard_normal((rows, dim), dtype=np.float32)


def unit(given):
    given = given.astype(np.float32)
    return given / np.linalg.norm(given, axis=-1, keepdims=True)


def moved(head):
    """Give every weight another value, as training would."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return head


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_an_untrained_head_only_brings_vectors_to_length_one(kind):
    head, given = Head(kind, image_dim=8, text_dim=8), vectors()
    np.testing.assert_allclose(head.encode_image(given), unit(given), atol=2e-7)
    np.testing.assert_allclose(head.encode_text(given), unit(given), atol=2e-7)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_other_dimensions_meet_in_the_smaller_one_by_orthonormal_directions(kind):
    head = Head(kind, image_dim=8, text_dim=6)
    np.testing.assert_allclose(head.encode_text(vectors(dim=6)), unit(vectors(dim=6)), atol=2e-7)
    weight = (head.image if kind == "linear" else head.image.skip).weight.detach().numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(6), atol=1e-6)
    np.testing.assert_allclose(head.encode_image(vectors()), unit(vectors() @ weight.T), atol=1e-6)


def test_a_trained_linear_head_is_a_matrix_per_side():
    head, given = moved(Head(image_dim=8, text_dim=8)), vectors()
    weight = head.image.weight.detach().numpy()
    np.testing.assert_allclose(head.encode_image(given), unit(given @ weight.T), atol=1e-6)


def test_a_trained_mlp_head_is_the_formula_it_states():
    head, given = moved(Head("mlp", image_dim=8, text_dim=8, hidden=3)), vectors()
    side = {name: parameter.detach().numpy().astype(np.float64) for name, parameter in head.text.named_parameters()}
    spread = np.sqrt(given.var(axis=1, keepdims=True) + 1e-5)
    normed = (given - given.mean(axis=1, keepdims=True)) / spread * side["norm.weight"] + side["norm.bias"]
    inner = torch.from_numpy(normed @ side["widen.weight"].T + side["widen.bias"])
    gelu = (inner * 0.5 * (1 + torch.erf(inner / 2**0.5))).numpy()
    np.testing.assert_allclose(head.encode_text(given), unit(given + gelu @ side["narrow.weight"].T), atol=1e-5)


def test_an_array_gives_a_float32_array_even_where_it_is_float16_and_read_only():
    given = vectors().astype(np.float16)
    given.flags.writeable = False
    out = Head(image_dim=8, text_dim=8).encode_image(given)
    assert isinstance(out, np.ndarray) and out.dtype == np.float32
    np.testing.assert_allclose(out, unit(given), atol=2e-7)


def test_a_tensor_gives_a_tensor_that_gradients_flow_through():
    head = Head(image_dim=8, text_dim=8)
    out = head.encode_image(torch.from_numpy(vectors()).half())
    assert out.dtype == torch.float32
    out[:, 0].sum().backward()
    assert head.image.weight.grad.abs().sum() > 0


def test_all_views_of_an_image_are_mapped_at_once():
    head, given = moved(Head(image_dim=8, text_dim=8)), vectors(rows=6).reshape(2, 3, 8)
    np.testing.assert_allclose(
        head.encode_image(given).reshape(6, 8), head.encode_image(given.reshape(6, 8)), atol=1e-6
    )


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_logits_are_cosines_times_scale_plus_bias(loss):
    head = Head(image_dim=8, text_dim=8, loss=loss)
    image, text = vectors(3), vectors(5)[2:]
    scale, bias = {"clip": (1 / 0.07, 0.0), "siglip": (10.0, -10.0)}[loss]
    expected = scale * unit(image) @ unit(text).T + bias
    with torch.inference_mode():
        np.testing.assert_allclose(head(torch.from_numpy(image), torch.from_numpy(text)), expected, atol=1e-5)


def test_vectors_of_another_dimension_are_refused():
    with pytest.raises(UsageError, match=r"expected vectors of 8 dimensions, found shape \(5, 6\)"):
        Head(image_dim=8, text_dim=8).encode_image(vectors(dim=6))


@pytest.mark.parametrize("wrong", [{"kind": "cubic"}, {"loss": "hinge"}])
def test_an_unknown_kind_or_loss_is_refused(wrong):
    with pytest.raises(UsageError, match="expected one of"):
        Head(**wrong, image_dim=8, text_dim=8)


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_own_state_alone():
    before = torch.get_rng_state()
    one, two, other = (Head("mlp", image_dim=8, text_dim=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.text.widen.weight, two.text.widen.weight)
    assert not torch.equal(one.text.widen.weight, other.text.widen.weight)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_a_saved_head_comes_back_as_it_was(tmp_path, kind, loss):
    head = moved(
        Head(kind, image_dim=8, text_dim=6, dim=4, hidden=5 if kind == "mlp" else None, loss=loss, origin=ORIGIN)
    )
    head.save(tmp_path)
    back = Head.load(tmp_path)
    assert (back.kind, back.loss, back.origin, back.hidden) == (head.kind, head.loss, ORIGIN, head.hidden)
    np.testing.assert_array_equal(back.encode_image(vectors()), head.encode_image(vectors()))
    np.testing.assert_array_equal(back.encode_text(vectors(dim=6)), head.encode_text(vectors(dim=6)))
    assert {name for name, value in back.named_parameters() if value.requires_grad} == {
        name for name, value in head.named_parameters() if value.requires_grad
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "head.safetensors"]


def test_altered_weights_are_refused(tmp_path):
    Head(image_dim=8, text_dim=8).save(tmp_path)
    weights = bytearray((tmp_path / "head.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "head.safetensors").write_bytes(weights)
    with pytest.raises(FormatError, match="expected the content that head"):
        Head.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 1 << 24},  # a petabyte, if it were believed
        {"dim": -1},
        {"image_dim": 7},
        {"kind": "mlp"},
        {"kind": ["linear"]},
        {"origin": {"dataset": "only"}},
        {"weights_sha256": None},
        {"format": "dfndr-head/2"},
    ],
)
def test_a_record_that_does_not_fit_the_weights_is_refused(tmp_path, change):
    Head(image_dim=8, text_dim=8).save(tmp_path)
    record = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(FormatError):
        Head.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_a_record_that_is_no_record_is_refused(tmp_path, text):
    Head(image_dim=8, text_dim=8).save(tmp_path)
    (tmp_path / "head.json").write_text(text)
    with pytest.raises(FormatError, match="expected a head as"):
        Head.load(tmp_path)


def test_a_folder_without_a_head_says_so(tmp_path):
    with pytest.raises(FormatError, match=r"expected a folder with head.json, found none. .*train-head"):
        Head.load(tmp_path)


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import dfndr; dfndr.Head"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "dfndr[train]"' in done.stderr.splitlines()[-1]
