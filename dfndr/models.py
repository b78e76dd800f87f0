"""Where an encoder's model comes from: a built-in name and a tag, the Hub, a folder, a checkpoint, or a seed."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfndr.errors import MissingExtra, ModelError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["EncoderSpec", "activation_of", "hub_revision", "in_a_line", "load_model", "named_spec", "weights_sha256"]

_HUB_TIMEOUT_S = 10
_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MISFIT = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, "
    r"the shape in current model is torch\.Size\((.*?)\)"
)
_KEYS = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: (.*?)(?=\. |\.?$| Unexpected key| size mismatch)")


@dataclass(frozen=True)
class EncoderSpec:
    """Which model, where its weights come from, and how it is run.

    `pretrained` is a tag of open_clip, `hf-hub:org/name`, `local-dir:/path`, the path of a checkpoint, or `random:SEED`
    (tests and benchmarks). `model` is a built-in name or the path of a JSON config; `hf-hub:` and `local-dir:` bring
    their own config. `device` is "auto", "cpu", "cuda" or "mps" and no part of what is recorded; `decode` is
    how pictures are brought to the model's size (`dfndr.pixels`).
    """

    name: str
    model: str
    pretrained: str
    precision: str = "fp32"
    batch_size: int = 64
    threads: int = 2
    license: str = "unknown"
    device: str = "auto"
    decode: str = "exact"

    @property
    def needs_network(self) -> bool:
        """Say whether the weights may have to be fetched from the internet: those of the Hub, and those of a tag."""
        kind = self.pretrained.split(":")[0]
        return kind == "hf-hub" or not (kind in ("local-dir", "random") or _is_path(self.pretrained))


def named_spec(pretrained: str, *, model: str = "", batch_size: int = 64, device: str = "auto") -> EncoderSpec:
    """Return the spec of weights that a user names, with a folder that open_clip saved named by its path alone.

    Raises UsageError where they do not bring a config of their own and `model` names none.
    """
    if (Path(pretrained) / "open_clip_config.json").is_file():
        pretrained = f"local-dir:{pretrained}"
    if not model and not pretrained.startswith(("hf-hub:", "local-dir:")):
        do = "Name it with --model: a built-in name of open_clip, or a JSON config."
        raise UsageError(pretrained, expected="a model that these weights are of", found="none named", do=do)
    return EncoderSpec("model", model or pretrained, pretrained, batch_size=batch_size, device=device)


def _is_path(pretrained: str) -> bool:
    """Say whether weights are named by a path, of a file that need not be there; no tag has a slash or a dot."""
    return "/" in pretrained or "." in pretrained or Path(pretrained).is_file()


def weights_sha256(state: dict[str, torch.Tensor]) -> str:
    """Return the sha256 over the tensors, sorted by name: name, dtype, shape, little-endian bytes of each.

    It does not depend on the file the tensors came in, nor on the device they are on.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


_ACTIVATIONS = {
    "GELU": "gelu",
    "GELUActivation": "gelu",
    "NewGELUActivation": "gelu_tanh",
    "GELUTanh": "gelu_tanh",
    "PytorchGELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "QuickGELUActivation": "quick_gelu",
    "ReLU": "relu",
    "SiLU": "silu",
}


def activation_of(model: torch.nn.Module) -> str:
    """Return the activation of a CLIP model as it was built, `image / text` where the towers differ, "" if unknown."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for name, module in model.named_modules():
        kind = _ACTIVATIONS.get(type(module).__name__, "")
        if kind:
            kind = "gelu_tanh" if getattr(module, "approximate", "none") == "tanh" else kind
            found[name.startswith("visual.")].add(kind)
    image, text = ("+".join(sorted(found[is_image])) for is_image in (True, False))
    return image if image == text else f"{image or 'unknown'} / {text or 'unknown'}"


def load_model(spec: EncoderSpec) -> tuple[Any, Any, Any]:
    """Return the model, its image transform and its tokenizer; raises ModelError where they cannot be loaded."""
    try:
        return _loaded(spec.model, spec.pretrained, spec.precision)
    except _LoadError as error:
        raise _explained(spec, error) from error.__cause__


def hub_revision(pretrained: str) -> str:
    """Return the commit of the Hub that `hf-hub:` weights were just loaded from, "" for weights from elsewhere.

    open_clip takes the newest one; which that was, huggingface_hub's cache tells. "" where the cache does not tell.
    """
    from huggingface_hub import try_to_load_from_cache

    if not pretrained.startswith("hf-hub:"):
        return ""
    found = (try_to_load_from_cache(pretrained.removeprefix("hf-hub:"), name) for name in _HUB_WEIGHTS)
    commits = (Path(path).parent.name for path in found if isinstance(path, str))
    return next((commit for commit in commits if _COMMIT.fullmatch(commit)), "")


class _LoadError(Exception):
    """What one of the libraries that load weights said."""


class _Unknown(ValueError):
    """Nothing goes by that name, here or on the network."""


@lru_cache(maxsize=4)
def _loaded(model: str, pretrained: str, precision: str) -> tuple[Any, Any, Any]:
    """Return model, image transform and tokenizer, once for all the names under which a recipe uses them."""
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra.of("open_clip", "build") from error
    where = f"{model}, {pretrained}"
    try:
        with warnings.catch_warnings(record=True) as heard, _quiet_root_logger():
            warnings.simplefilter("always")
            _require_hub(open_clip, model, pretrained)
            found = _load(open_clip, model, pretrained, precision)
    except Exception as error:
        # Loading runs code of five libraries, each with errors of its own; the cause is kept and said in one line.
        raise _LoadError(in_a_line(error)) from error
    if any("QuickGELU mismatch" in str(warning.message) for warning in heard):
        do = f"Use the model name that ends in -quickgelu, or drop that ending: {model}."
        raise ModelError(where, expected="the activation it was trained with", found="another one", do=do)
    return found


def in_a_line(error: Exception) -> str:
    """Return what a library that loads weights said, in one line; tensors that do not fit are named."""
    text = " ".join(str(error).split())
    if type(error).__name__ == "UnpicklingError":
        return "no file of weights alone, or a damaged one (what a pickle would run is never run)"
    misfits = [f"{name} is {found}, and {wanted} in the model" for name, found, wanted in _MISFIT.findall(text)]
    misfits += [f"{kind} {names.strip()}" for kind, names in _KEYS.findall(text)]
    if misfits:
        more = f"; and {len(misfits) - 4} more" if len(misfits) > 4 else ""
        return "weights of another model: " + "; ".join(one[:160] for one in misfits[:4]) + more
    if "state_dict" in text:
        return "weights of another model: " + text[:200]
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _require_hub(open_clip: Any, model: str, pretrained: str) -> None:  # noqa: ANN401
    """Raise at once where weights are to be fetched and the Hub is out of reach: retries would take a minute."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if pretrained.startswith("hf-hub:"):
        repo = pretrained.removeprefix("hf-hub:")
    else:
        repo = (open_clip.get_pretrained_cfg(model, pretrained) or {}).get("hf_hub", "").strip("/")
    if (
        not repo
        or constants.HF_HUB_OFFLINE
        or any(isinstance(try_to_load_from_cache(repo, name), str) for name in _HUB_WEIGHTS)
    ):
        return
    HfApi().model_info(repo, timeout=_HUB_TIMEOUT_S)


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip speaks through the root logger while it loads; what matters of it becomes an error of ours."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)


def _load(open_clip: Any, name: str, pretrained: str, precision: str) -> tuple[Any, Any, Any]:  # noqa: ANN401
    import torch

    kind, _, rest = pretrained.partition(":")
    options = {"precision": precision, "device": "cpu"}
    if kind in ("hf-hub", "local-dir"):
        name = pretrained
        model, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True, **options)
    else:
        if name.endswith(".json"):
            name = _register_config(open_clip, Path(name))
        _require_known(open_clip, name, pretrained)
        if kind == "random":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rest))
                model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained_text=False, **options)
        else:
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, pretrained, require_pretrained=True, weights_only=True, **options
            )
    return model, preprocess, open_clip.get_tokenizer(name)


def _require_known(open_clip: Any, name: str, pretrained: str) -> None:  # noqa: ANN401
    """Raise where open_clip knows no such model, or the model has no such weights; it would list all there are."""
    models = open_clip.list_models()
    if name.replace("/", "-") not in models:
        raise _Unknown(f"no built-in model of that name{_nearest(name, models)}")
    tags = open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))
    if _is_path(pretrained):
        if not Path(pretrained).is_file():
            raise _Unknown("no file there" if not Path(pretrained).is_dir() else "a folder (say local-dir:FOLDER)")
    elif not pretrained.startswith("random:") and pretrained.lower().replace("-", "_") not in tags:
        raise _Unknown(f"no file and no tag of that name{_nearest(pretrained, tags)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (the nearest is {near[0]!r})" if near else ""


def _register_config(open_clip: Any, path: Path) -> str:  # noqa: ANN401
    """Make a JSON config known to open_clip under a name that no built-in model has."""
    text = path.read_bytes()
    given = json.loads(text)
    if not (isinstance(given, dict) and {"embed_dim", "vision_cfg", "text_cfg"} <= given.keys()):
        raise _Unknown("a config without embed_dim, vision_cfg and text_cfg")
    side = given["vision_cfg"].get("image_size", 1) if isinstance(given["vision_cfg"], dict) else None
    if not all(isinstance(pixels, int) and pixels > 0 for pixels in (side if isinstance(side, list) else [side])):
        raise _Unknown(f"a config with vision_cfg.image_size {side!r}")
    name = f"{path.stem}-{hashlib.sha256(text).hexdigest()[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_bytes(text)
        open_clip.add_model_config(Path(folder) / f"{name}.json")
    return name


def _explained(spec: EncoderSpec, error: _LoadError) -> ModelError:
    do = "Check the model's name and the path or tag of its weights."
    is_unknown = isinstance(error.__cause__, _Unknown)
    if spec.needs_network and not is_unknown and os.environ.get("HF_HUB_OFFLINE") == "1":
        do = "HF_HUB_OFFLINE is set, and these weights are not in the local cache: unset it or name a local-dir:."
    elif spec.needs_network and not is_unknown:
        do = "These weights come from the network: check the connection and HF_ENDPOINT, or name a local-dir:."
    where = f"encoder {spec.name!r} ({spec.model}, {spec.pretrained})"
    return ModelError(where, expected="weights that load", found=str(error), do=do)
