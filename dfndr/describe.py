"""A dataset in words: what `dfndr info` prints, from the manifest alone."""

from __future__ import annotations

from collections.abc import Mapping

from dfndr.format.funnel import Counts
from dfndr.format.manifest import Manifest, Step
from dfndr.format.schema import EncoderRecord

__all__ = ["describe", "drifts", "facts", "funnel_lines", "printable", "rule_in_words"]

_SOURCES = 10
_NAME_CHARACTERS = 48
_LIMITS = ("top_fraction", "threshold", "count")


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
    """Return the funnel as lines: every row in is a row out, dropped or failed; the most frequent reason first."""
    lines = []
    for step in funnel:
        lines.append(f"  {step.name:<10} {step.rows_in:>10,} in  {step.rows_out:>10,} out")
        for kind, counts in (("dropped", step.dropped), ("failed", step.failed)):
            ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
            lines += [f"  {'':<10} {count:>10,} {kind}: {reason}" for reason, count in ordered if count]
    return lines


def rule_in_words(rule: Mapping[str, object]) -> str:
    """Return what a recipe's [select] says, on one line: `top_fraction 0.5, quota (column source, most_share 0.1)`."""
    words = ((name, value if not isinstance(value, Mapping) else f"({_words(value)})") for name, value in rule.items())
    return ", ".join(name if value is True else f"{name} {_words(value)}" for name, value in words)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return rule_in_words(value)
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(part, Mapping) for part in value) else ", ").join(map(_words, value))
    return str(value)


def printable(text: str) -> str:
    """Return a text that a stranger wrote on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _removal_lines(manifest: Manifest) -> list[str]:
    """Return when rows were taken out, how many and why; and how many of them files still hold."""
    lines = [f"  {one.date} {one.rows:>10,}  {printable(one.reason)}" for one in manifest.removals]
    if manifest.removed:
        lines.append(f"  {manifest.removed:,} of them are in files still, for plain readers: `dfndr compact`")
    return ["", "removed", *lines] if lines else []


def _picture_lines(given: object) -> list[str]:
    """Say of how many rows of an import the pictures were at hand, and why not of the others."""
    if not isinstance(given, Mapping):
        return []
    counts = {name: count for name, count in given.items() if isinstance(count, int)}
    return ["", "pictures", *(f"  {count:>10,} {printable(str(name))}" for name, count in counts.items())]


def describe(manifest: Manifest) -> str:
    """Return what `dfndr info` prints."""
    splits = ", ".join(
        f"{name} {sum(s.rows for s in manifest.shards if s.split == name):,}" for name in _splits(manifest)
    )
    shards = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards):,} shards"
    lines = [
        f"{manifest.name}: {len(manifest):,} rows in {shards} ({splits or 'no rows'})",
        f"digest {manifest.digest}",
        f"license {manifest.license}",
        "",
        "funnel",
        *funnel_lines(manifest.funnel),
        *_selection_lines(manifest.provenance.get("selection")),
        *_source_lines(manifest.funnel),
        *_picture_lines(manifest.provenance.get("pictures")),
        *_removal_lines(manifest),
    ]
    if manifest.spaces:
        lines += ["", "spaces"]
        for space in manifest.spaces:
            norm = "unit norm" if space.unit_norm else "any norm"
            lines.append(f"  {space.name:<24} {space.per_row} x {space.dim} {space.dtype}, {norm}")
    lines += _model_lines("encoders", manifest.encoders) + _model_lines("scorers", manifest.scorers)
    lines += [f"  {name:<24} decode = fast: {words}" for name, words in drifts(manifest).items()]
    lines += _captioner_lines(manifest)
    lines += ["", "on disk", *(f"  {role:<24} {_megabytes(size)}" for role, size in sizes(manifest).items())]
    pools = manifest.provenance.get("pools")
    if isinstance(pools, list) and pools:
        lines += ["", "pools"]
        for pool in pools:
            if isinstance(pool, Mapping):
                about = ", ".join(f"{key} {value}" for key, value in sorted(pool.items()) if key != "kind")
                lines.append(f"  {pool.get('kind', '?')}: {about or 'as it is'}")
    made = manifest.provenance.get("made_with")
    if isinstance(made, Mapping):
        lines += ["", "made with " + ", ".join(f"{name} {version}" for name, version in made.items())]
    return "\n".join(lines)


def _model_lines(title: str, records: Mapping[str, EncoderRecord]) -> list[str]:
    """Say of each model what it is; of one whose vectors were imported, no more than somebody wrote down."""
    lines = ["", title] if records else []
    for name, record in records.items():
        model = "" if record.pretrained.startswith(f"{record.model}:") else f"{record.model}, "
        lines.append(f"  {name:<24} {model}{record.pretrained}, {record.precision}, license {record.license}")
        height, width = record.preprocess.size
        shape = f"{width}x{height} {record.preprocess.interpolation}, {record.preprocess.resize_mode}"
        about = (
            f"{record.context_length} tokens, {shape}" if record.context_length else "tokens and pictures not recorded"
        )
        lines.append(f"  {'':<24} {record.dim} dims, {about}")
        lines += [f"  {'':<24} {known}" for known in [_more_of_model(record)] if known]
        lines.append(f"  {'':<24} weights sha256 {record.weights_sha256 or 'not recorded'}")
    return lines


def _more_of_model(record: EncoderRecord) -> str:
    """Return what not every manifest says of a model: its activation, its bias, what a student is taught with."""
    bias = "" if record.logit_bias is None else f", bias {record.logit_bias:g}"
    known = [record.activation, f"scale {record.logit_scale:g}{bias}" if record.activation or bias else ""]
    known.append("" if record.distillation_scale is None else f"teaches with scale {record.distillation_scale:g}")
    return ", ".join(filter(None, known))


def drifts(manifest: Manifest) -> dict[str, str]:
    """Return, by encoder, how far vectors of pictures that were decoded the fast way are from exact ones, in words."""
    given, found = manifest.provenance.get("drift"), {}
    for name, told in given.items() if isinstance(given, Mapping) else ():
        numbers = [told.get(key) for key in ("mean", "worst", "pictures")] if isinstance(told, Mapping) else []
        if numbers and all(type(number) in (int, float) for number in numbers):
            mean, worst, pictures = numbers
            found[str(name)] = f"cosine {mean:.6f} in the mean, {worst:.6f} at worst of {pictures:,} pictures"
    return found


def _captioner_lines(manifest: Manifest) -> list[str]:
    """Say of each captioner what it is, and what was asked of it."""
    lines = ["", "captioners"] if manifest.captioners else []
    for name, record in manifest.captioners.items():
        known = [record.kind, record.model, f"license {record.license}"]
        lines.append(f"  {name:<24} {', '.join(known)}")
        for settings in (record.sampling, record.asked):
            if settings:
                lines.append(f"  {'':<24} {', '.join(f'{key} {value}' for key, value in settings.items())}")
        if record.prompt:
            lines.append(f"  {'':<24} prompt {record.prompt!r}")
        made = record.weights_sha256 or record.revision
        lines.append(f"  {'':<24} {'weights sha256' if record.weights_sha256 else 'revision'} {made or 'not recorded'}")
    return [printable(line) for line in lines]


def _selection_lines(selection: object) -> list[str]:
    """Say what was kept of how many: the rows that no list, rule or group of duplicates had taken out."""
    if not isinstance(selection, Mapping) or not isinstance(selection.get("rule"), Mapping):
        return []
    rule = dict(selection["rule"])
    by, cut, samples = rule.pop("by", "?"), selection.get("cut"), selection.get("samples")
    limit = rule_in_words({name: rule.pop(name) for name in _LIMITS if name in rule})
    kept = f"the lowest score kept is {cut:.4f}" if isinstance(cut, float) else "nothing was kept"
    of = f"{samples:,}" if isinstance(samples, int) else "?"
    lines = [f"  selected by {by}: {limit}, out of {of} rows that were still in the running; {kept}"]
    return [printable(line) for line in (*lines, *(f"  {name}: {_words(rule[name])}" for name in rule))]


def _source_lines(funnel: tuple[Step, ...]) -> list[str]:
    """Say what came of each source; nothing where there is but one, or where they were not counted."""
    counted = [step.sources for step in funnel if step.sources]
    if not counted or len(counted[0]) < 2:
        return []
    first, last = counted[0], counted[-1]
    nothing = Counts(0, 0)
    totals = {name: (part.rows_in, last.get(name, nothing).rows_out) for name, part in first.items()}
    ordered = sorted(totals, key=lambda name: (-totals[name][0], name))
    shown = {name: _shortened(printable(name)) or "(none named)" for name in ordered[:_SOURCES]}
    rest = ordered[_SOURCES:]
    more = f"and {len(rest):,} more"
    width = max(map(len, (*shown.values(), more)))
    lines = ["", f"{'sources':<{width + 2}} {'in':>10} {'kept':>10}"]
    for name, label in shown.items():
        rows_in, rows_out = totals[name]
        share = f"{100 * rows_out / rows_in:6.1f} %" if rows_in else ""
        lines.append(f"  {label:<{width}} {rows_in:>10,} {rows_out:>10,} {share}".rstrip())
    if rest:
        rows_in, rows_out = (sum(totals[name][place] for name in rest) for place in (0, 1))
        lines.append(f"  {more:<{width}} {rows_in:>10,} {rows_out:>10,}")
    return lines


def _shortened(name: str) -> str:
    is_long = len(name) > _NAME_CHARACTERS
    return name[: _NAME_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" if is_long else name


def _splits(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in manifest.shards))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
