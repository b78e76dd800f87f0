"""The lines that long work tells: rates and times in the words and digits that a reader takes in."""

import io

import pytest

from dfndr import console


@pytest.mark.parametrize(
    ("took_s", "line"),
    [
        (10.0, "work: 100 of 1,000 rows, 90 s left, 10 rows/s, loss 0.5"),
        (50.0, "work: 100 of 1,000 rows, 8 min left, 2 rows/s, loss 0.5"),
        (1_000.0, "work: 100 of 1,000 rows, 2 h 30 min left, 0.1 rows/s, loss 0.5"),
    ],
)
def test_long_times_are_hours_and_minutes_and_slow_rates_are_not_nothing(
    took_s: float, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stream = [0.0], io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.console_progress(stream).task("work", 1_000) as task:
        task.note("loss 0.5")
        clock[0] = took_s
        task.advance(100)
        assert stream.getvalue().splitlines() == [line]
