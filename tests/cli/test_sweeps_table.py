"""The table at a sweep's end: every job has a line, for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

from idinvert.cli import outcome as states
from idinvert.cli.outcome import Outcome, forget, keep, kept
from idinvert.cli.sweep_table import counted, gathered, printed, write

WORDS = ["experiment=e4e", "data=faces_mini"]


def outcome(number: int, state: str, **more: object) -> Outcome:
    words = [*WORDS, f"seed={number}"]
    return Outcome(number=number, words=words, state=state, **more)  # type: ignore[arg-type]


def test_an_outcome_is_kept_and_the_last_word_on_a_job_counts(tmp_path: Path) -> None:
    keep(tmp_path, outcome(3, states.RUNNING))
    last = outcome(3, states.RAN, metric="val/mse", value=0.25, seconds=2.0, folder="f")
    keep(tmp_path, last)
    keep(tmp_path, outcome(12, states.FAILED, detail="why"))
    assert kept(tmp_path) == {3: last, 12: outcome(12, states.FAILED, detail="why")}
    forget(tmp_path)
    assert kept(tmp_path) == {}


def test_what_never_began_and_what_never_ended_have_lines() -> None:
    found = {0: outcome(0, states.RAN), 1: outcome(1, states.RUNNING)}
    jobs = [["seed=0"], ["seed=1"], ["seed=2"]]
    over = gathered(found, jobs, over=True)
    assert [one.state for one in over] == ["ran", "interrupted", "not started"]
    assert "killed" in over[1].detail and over[2].words == ["seed=2"]
    assert [one.state for one in gathered(found, None, over=False)] == ["ran", "running"]


def test_the_same_run_in_two_jobs_is_done_when_the_one_that_had_it_is(
    trained: Callable[..., Path],
) -> None:
    for state, shown in (("finished", "done before"), ("running", "busy elsewhere")):
        folder = trained(state, state=state)
        found = {0: outcome(0, states.BUSY, folder=str(folder))}
        (one,) = gathered(found, None, over=True)
        assert one.state == shown and one.good == (state == "finished")


def test_the_screen_shows_what_differs_and_the_files_show_all(tmp_path: Path) -> None:
    outcomes = [
        outcome(0, states.RAN, metric="val/mse", value=0.0312345, folder="out/a", seconds=61.2),
        outcome(1, states.DONE, metric="val/mse", value=0.5),
        outcome(2, states.FAILED, detail="a | b " + 300 * "x", traceback="j/0002.traceback.txt"),
    ]
    lines = printed(outcomes).splitlines()
    assert lines[0] == "all: experiment=e4e data=faces_mini"
    assert lines[1] == "0  seed=0  ran          val/mse 0.031234"
    assert lines[2] == "1  seed=1  done before  val/mse 0.5"
    assert lines[3].startswith("2  seed=2  failed       a | b xxx") and len(lines[3]) < 250
    assert lines[3].endswith("(j/0002.traceback.txt)")
    assert lines[4] == counted(outcomes) == "3 jobs: 1 ran, 1 done before, 1 failed"

    page, data = write(tmp_path, outcomes, command="python train.py -m x", best="best: seed=0")
    text = page.read_text()
    assert "`python train.py -m x`" in text and "best: seed=0" in text
    row = "| 0 | `experiment=e4e data=faces_mini seed=0` | ran | val/mse 0.031234 | out/a | 61 |"
    assert row in text.splitlines()
    assert "a \\| b " + 300 * "x" + " (j/0002.traceback.txt)" in text
    stored = json.loads(data.read_text())
    assert stored["command"] == "python train.py -m x"
    assert [job["state"] for job in stored["jobs"]] == ["ran", "done before", "failed"]
    assert stored["jobs"][0]["value"] == 0.0312345


def test_one_job_is_shown_with_all_its_words() -> None:
    assert printed([outcome(0, states.RAN)]).startswith("0  experiment=e4e data=faces_mini seed=0")
    assert counted([outcome(0, states.RAN)]) == "1 job: 1 ran"
    assert counted([]) == "0 jobs: none"
