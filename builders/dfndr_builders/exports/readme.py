"""What stands in the README.md of an export: what it is, what each space is called there, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from dfndr.dataset import Dataset
from dfndr_builders.layout_file import LayoutFile
from dfndr_builders.markdown import plain, table

__all__ = ["readme_of"]


def readme_of(dataset: Dataset, layout: LayoutFile, lost: Sequence[str] = ()) -> str:
    """Return a page; `lost` are sentences on what the layout has no place for."""
    manifest = dataset.manifest
    head = ("space", "is here", "a row has", "model", "licence of the model")
    lines = [
        [
            space.name,
            layout.places[space.name],
            f"{space.per_row} x {space.dim}, {space.dtype}",
            ", ".join(filter(None, (layout.encoders[space.encoder].model, layout.encoders[space.encoder].pretrained))),
            layout.encoders[space.encoder].license,
        ]
        for space in layout.spaces
    ]
    losses = "".join(f"- {line}\n" for line in lost) or "- Nothing is left out.\n"
    return f"""# {plain(manifest.name)}, for {plain(layout.kind)}

{len(dataset):,} rows in the layout of {plain(layout.kind)}, exported by dfndr. Licence: {plain(manifest.license)}.
How they were made is told by the dataset's own card; its digest is `{dataset.digest}`.

{table(head, lines)}

{losses}
`dfndr import {layout.kind}` makes a dataset of it again; `layout.json` says what other tools have no word for.
"""
