"""From class names to prompts, and from prompts to one vector for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfndr.encoder import Encoder
from dfndr.errors import DataError, UsageError
from dfndr_builders.pools.templated import OPENAI_IMAGENET, openai_imagenet

__all__ = ["DEFAULT_TEMPLATES", "check_templates", "class_vectors", "filled", "named_templates"]

DEFAULT_TEMPLATES = ("a photo of a {}.",)

_PLACES = ("{c}", "{}")
"""Where the class goes: in CLIP_benchmark's files, and everywhere else."""


def filled(template: str, classname: str) -> str:
    """Return a template with the class in its place, `{c}` or `{}`; other braces stay as they are."""
    for place in _PLACES:
        template = template.replace(place, classname)
    return template


def check_templates(templates: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the templates; raises UsageError where there is none, or one has no place for the class."""
    if not templates:
        raise UsageError(where, expected="at least one template", found="none", do='Add one: "a photo of a {}."')
    for number, template in enumerate(templates, start=1):
        if not any(place in template for place in _PLACES):
            do = 'Write one like "a photo of a {}."'
            raise UsageError(
                f"{where}, template {number}", expected="a place for the class, {} or {c}", found=repr(template), do=do
            )
    return tuple(templates)


def named_templates(name: str) -> tuple[str, ...]:
    """Return the templates that go by a name; raises UsageError for another name."""
    if name != OPENAI_IMAGENET:
        do = "Name it so, or give a file of one template a line."
        raise UsageError("templates", expected=repr(OPENAI_IMAGENET), found=repr(name), do=do)
    return openai_imagenet()


def class_vectors(
    encoder: Encoder, classnames: Sequence[str], templates: Sequence[str] = DEFAULT_TEMPLATES
) -> npt.NDArray[np.float32]:
    """Return a unit vector for each class, shape (classes, dim): the mean of its prompts' unit vectors (CLIP, 3.1.4).

    Each distinct prompt is encoded once. Raises DataError where the encoder can make no vector of one, or where those
    of a class cancel out.
    """
    prompts = [filled(template, classname) for classname in classnames for template in templates]
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    encoded = encoder.encode_texts(list(distinct))
    for place, (reason, detail) in encoded.problems.items():
        where = f"prompt {list(distinct)[place]!r}"
        raise DataError(where, expected="a vector", found=f"{reason}: {detail}", do="Check the model.")
    places = np.array([distinct[prompt] for prompt in prompts]).reshape(len(classnames), len(templates))
    means = encoded.vectors.astype(np.float64)[places].mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    for row in np.flatnonzero(lengths < 1e-6).tolist():
        where, do = f"class {classnames[row]!r}", "Check the model, or take other templates."
        raise DataError(where, expected="prompts that agree", found="vectors that cancel out", do=do)
    vectors: npt.NDArray[np.float32] = (means / lengths).astype(np.float32)
    return vectors
