"""No build brings back what was taken out, unless it is told to elsewhere; and a real dataset is rid of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dfndr_builders.build import build
from dfndr_builders.removing import compact, remove
from support.builds import RECIPE, write_recipe

from dfndr.dataset import open_dataset
from dfndr.errors import UsageError
from dfndr.format.manifest import read_manifest
from dfndr.format.removed import LOG
from dfndr.verify import verify


def test_a_build_over_a_removal_is_refused_until_its_recipe_excludes_the_rows(tmp_path: Path) -> None:
    text = RECIPE.replace("count = 2_500\nswap_texts = 0.3", "count = 400").replace("count = 200", "count = 50")
    recipe, out = write_recipe(tmp_path, text=text), tmp_path / "out"
    build(recipe, out, device="cpu")
    uids = open_dataset(out).rows(["uid"])["uid"].to_pylist()
    remove(out, uids[:3], reason="asked for")
    left = read_manifest(str(out))
    assert [step.name for step in left.funnel] == ["score", "select", "build", "remove"]
    with pytest.raises(UsageError, match=r"3 rows were removed from.*\[select\] exclude"):
        build(recipe, out, device="cpu")
    with pytest.raises(UsageError, match="bring back"):
        build(recipe, out, device="cpu", replace=True)
    other = write_recipe(tmp_path, text=text.replace("top_fraction = 0.2", "top_fraction = 0.25"))
    with pytest.raises(UsageError, match=r"no row that was removed.*3 of them selected"):
        build(other, out, device="cpu", replace=True)
    assert read_manifest(str(out)) == left and verify(out).ok, "a build that was refused changes nothing"
    compact(out)
    (tmp_path / "gone.txt").write_text("\n".join(uids[:3]))
    exclude = write_recipe(tmp_path, text=text.replace("top_fraction", 'exclude = "gone.txt"\ntop_fraction'))
    again = build(exclude, out, device="cpu", replace=True)
    assert LOG in again.files and not again.removals
    assert not set(uids[:3]) & set(open_dataset(out).rows(["uid"])["uid"].to_pylist())
    assert verify(out).ok, str(verify(out))
    with pytest.raises(UsageError, match="no row that was removed"):
        build(write_recipe(tmp_path, text=text), out, device="cpu", replace=True)
