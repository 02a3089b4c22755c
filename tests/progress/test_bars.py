"""Progress where stderr is no terminal: a line now and then, with what is left."""

import io
import sys
import time

import pytest

from ase_mlip.progress import bars
from ase_mlip.progress.bars import Lines, bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_thirty_seconds_with_what_is_left(clock, capsys):
    lines = Lines("structure")
    for done in range(1, 11):
        lines(done, 10, "rows")
        clock[0] += 20.0
    assert capsys.readouterr().err.splitlines() == [
        "rows: 3 of 10 structures, 40 s; about 2 min left",
        "rows: 5 of 10 structures, 80 s; about 2 min left",
        "rows: 7 of 10 structures, 2 min; about 60 s left",
        "rows: 9 of 10 structures, 3 min; about 20 s left",
    ]


def test_what_was_there_before_does_not_count_for_the_time_left(clock, capsys):
    lines = Lines("structure")
    lines(90, 100, "rows")
    clock[0] += 40.0
    lines(92, 100, "rows")
    assert capsys.readouterr().err == "rows: 92 of 100 structures, 40 s; about 3 min left\n"


def test_a_stage_without_known_end_says_its_round(clock, capsys):
    lines = Lines("structure", {"exchange": "round"})
    lines(5, 5, "rows")
    clock[0] += 31.0
    lines(1, 0, "exchange")
    clock[0] += 31.0
    lines(2, 0, "exchange")
    assert capsys.readouterr().err == "exchange: round 1, 0 s\nexchange: round 2, 31 s\n"


def test_a_stage_that_changes_its_words_goes_on(clock, capsys):
    """As errors of epochs, or the energy of a relaxation."""
    lines = Lines("epoch")
    for done in range(4):
        lines(done, 10, f"MAE {10 - done}")
        clock[0] += 40.0
    lines(1, 100, "dynamics")
    assert capsys.readouterr().err.splitlines() == [
        "MAE 9: 1 of 10 epochs, 40 s; about 6 min left",
        "MAE 8: 2 of 10 epochs, 80 s; about 5 min left",
        "MAE 7: 3 of 10 epochs, 2 min; about 5 min left",
        "dynamics: 1 of 100 epochs, 0 s",
    ]


def test_a_terminal_has_a_bar_that_begins_again_with_another_total(monkeypatch):
    """tqdm's own words, on a stream that says it is a terminal."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar("epoch", {"dynamics": "step"}) as progress:
        for row in (
            (1, 10, ""),
            (3, 10, "MAE 9"),
            (10, 10, "MAE 8"),
            (0, 200, "dynamics"),
            (50, 200, "dynamics"),
        ):
            progress(*row)
            time.sleep(0.12)  # tqdm draws no more often
    shown = terminal.getvalue()
    assert "MAE 9:  30%" in shown and "3/10" in shown
    assert "dynamics:  25%" in shown and "50/200" in shown


def test_short_work_says_nothing_and_one_is_singular(clock, capsys):
    with bar("supercell") as shown:
        shown(1, 2, "")
        clock[0] += 29.0
        shown(2, 2, "")
        assert capsys.readouterr().err == ""
        clock[0] += 29.0
        shown(1, 1, "")
    assert capsys.readouterr().err == "1 of 1 supercell, 0 s\n"  # another total is another piece of work
