"""A dataset in words: what `dfndr info` prints, from the manifest alone."""

from __future__ import annotations

from collections.abc import Mapping

from dfndr.format.manifest import Manifest, Step

__all__ = ["describe", "facts", "funnel_lines"]


def facts(manifest: Manifest) -> dict[str, object]:
    """Return what `dfndr info --json` prints: the manifest without its recipe text and its shards, with sizes added."""
    given = manifest.to_json()
    splits = {
        split: sum(shard.rows for shard in manifest.shards if shard.split == split) for split in _splits(manifest)
    }
    hidden = ("recipe", "shards", "files")
    kept = {key: value for key, value in given.items() if key not in hidden}
    return {
        "digest": manifest.digest,
        **kept,
        "splits": splits,
        "size_bytes": sizes(manifest),
        "shards": len(manifest.shards),
    }


def sizes(manifest: Manifest) -> dict[str, int]:
    """Return the bytes on disk by role: rows, problems, each space, and other files."""
    found = dict.fromkeys(["rows", *(space.name for space in manifest.spaces)], 0)
    for shard in manifest.shards:
        for role, stored in shard.files.items():
            found[role] = found.get(role, 0) + stored.size_bytes
    if manifest.files:
        found["other files"] = sum(stored.size_bytes for stored in manifest.files.values())
    return found


def funnel_lines(funnel: tuple[Step, ...]) -> list[str]:
    """Return the funnel as lines of text: every row in is a row out, dropped or failed, by reason."""
    lines = []
    for step in funnel:
        lines.append(f"  {step.name:<10} {step.rows_in:>10,} in  {step.rows_out:>10,} out")
        for kind, counts in (("dropped", step.dropped), ("failed", step.failed)):
            lines += [f"  {'':<10} {count:>10,} {kind}: {reason}" for reason, count in counts.items() if count]
    return lines


def describe(manifest: Manifest) -> str:
    """Return what `dfndr info` prints."""
    splits = ", ".join(
        f"{name} {sum(s.rows for s in manifest.shards if s.split == name):,}" for name in _splits(manifest)
    )
    lines = [
        f"{manifest.name}: {len(manifest):,} rows in {len(manifest.shards)} shards ({splits or 'no rows'})",
        f"digest {manifest.digest}",
        f"license {manifest.license}",
        "",
        "funnel",
        *funnel_lines(manifest.funnel),
        *_selection_lines(manifest.provenance.get("selection")),
    ]
    if manifest.spaces:
        lines += ["", "spaces"]
        for space in manifest.spaces:
            norm = "unit norm" if space.unit_norm else "any norm"
            lines.append(f"  {space.name:<24} {space.per_row} x {space.dim} {space.dtype}, {norm}")
    for title, records in (("encoders", manifest.encoders), ("scorers", manifest.scorers)):
        if records:
            lines += ["", title]
        for name, record in records.items():
            model = "" if record.pretrained.startswith(f"{record.model}:") else f"{record.model}, "
            lines.append(f"  {name:<24} {model}{record.pretrained}, {record.precision}, {record.license}")
            height, width = record.preprocess.size
            shape = f"{width}x{height} {record.preprocess.interpolation}, {record.preprocess.resize_mode}"
            lines.append(f"  {'':<24} {record.dim} dims, {record.context_length} tokens, {shape}")
            lines.append(f"  {'':<24} weights sha256 {record.weights_sha256}")
    lines += ["", "on disk", *(f"  {role:<24} {_megabytes(size)}" for role, size in sizes(manifest).items())]
    pools = manifest.provenance.get("pools")
    if isinstance(pools, list) and pools:
        lines += ["", "pools"]
        for pool in pools:
            if isinstance(pool, Mapping):
                about = ", ".join(f"{key} {value}" for key, value in pool.items() if key != "kind")
                lines.append(f"  {pool.get('kind', '?')}: {about or 'as it is'}")
    made = manifest.provenance.get("made_with")
    if isinstance(made, Mapping):
        lines += ["", "made with " + ", ".join(f"{name} {version}" for name, version in made.items())]
    return "\n".join(lines)


def _selection_lines(selection: object) -> list[str]:
    """Say what was kept of how many: N counts the distinct samples that could be scored."""
    if not isinstance(selection, Mapping) or not isinstance(selection.get("rule"), Mapping):
        return []
    rule = dict(selection["rule"])
    by, cut, samples = rule.pop("by", "?"), selection.get("cut"), selection.get("samples")
    asked = ", ".join(f"{name} {value}" for name, value in rule.items())
    kept = f"the lowest score kept is {cut:.4f}" if isinstance(cut, float) else "nothing was kept"
    of = f"{samples:,}" if isinstance(samples, int) else "?"
    return [f"  selected by {by}: {asked} of {of} distinct samples that could be scored; {kept}"]


def _splits(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in manifest.shards))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
