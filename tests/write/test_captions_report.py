"""The report counts what shards noted of captions on the way."""

from dataclasses import replace
from pathlib import Path

from dfndr_builders.report.write import report
from support.tiny import CAPTION, IMAGE, write_dataset

from dfndr.format.manifest import write_manifest


def test_what_shards_counted_is_added_up_and_other_notes_are_left_out(tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "set", (5, 3), (IMAGE, CAPTION)).manifest
    notes = ({"captions by coca, asked again": "1200", "enc batch_size": "halved to 8"}, {})
    notes[1].update({"captions by coca, asked again": "34", "captions by coca, not kept: empty": "5"})
    shards = tuple(replace(shard, notes=note) for shard, note in zip(made.shards, notes, strict=True))
    write_manifest(str(tmp_path / "set"), replace(made, shards=shards))
    page = Path(report(str(tmp_path / "set"), out=str(tmp_path / "report.html"))).read_text(encoding="utf-8")
    for words in ("captions by coca, asked again|1,234", "captions by coca, not kept: empty|5"):
        what, count = words.split("|")
        assert f'{what}</bdi></td><td class="n">{count}</td>' in page
    assert "halved" not in page
