"""The status of each job and the table at a sweep's end, for people and for programs."""

import json

from idinvert.cli import job_status as states
from idinvert.cli.job_status import (
    JobStatus,
    best_trial,
    counted,
    every_job,
    printed,
    read_jobs,
    write_job,
    write_table,
)

WORDS = ["experiment=e4e", "data=faces_mini"]


def status(number: int, state: str, **more: object) -> JobStatus:
    words = [*WORDS, f"seed={number}"]
    return JobStatus(number=number, words=words, state=state, **more)  # type: ignore[arg-type]


def test_the_last_status_of_a_job_counts(tmp_path):
    write_job(tmp_path, status(3, states.RUNNING))
    last = status(3, states.RAN, metric="val/mse", value=0.25, seconds=2.0, folder="f")
    write_job(tmp_path, last)
    write_job(tmp_path, status(12, states.FAILED, detail="why"))
    assert read_jobs(tmp_path) == {3: last, 12: status(12, states.FAILED, detail="why")}


def test_what_never_began_and_what_never_ended_have_lines(tmp_path):
    write_job(tmp_path, status(0, states.RAN))
    write_job(tmp_path, status(1, states.RUNNING))
    over = every_job(tmp_path, [["seed=0"], ["seed=1"], ["seed=2"]], over=True)
    assert [one.state for one in over] == ["ran", "interrupted", "not started"]
    assert "killed" in over[1].detail and over[2].words == ["seed=2"]
    assert [one.state for one in every_job(tmp_path, None, over=False)] == ["ran", "running"]


def test_the_same_run_in_two_jobs_is_done_when_the_one_that_had_it_is(trained, tmp_path):
    for state, shown in (("finished", "done before"), ("running", "busy elsewhere")):
        folder = trained(state, state=state)
        write_job(tmp_path, status(0, states.BUSY, folder=str(folder)))
        (one,) = every_job(tmp_path, None, over=True)
        assert one.state == shown and one.good == (state == "finished")


def test_the_best_trial_is_a_good_one_and_says_what_was_drawn():
    jobs = [
        status(0, states.DIVERGED, metric="val/mse", value=0.0),
        status(1, states.DONE, metric="val/mse", value=0.5),
        status(2, states.RAN, metric="val/mse", value=0.25),
    ]
    assert best_trial(jobs, direction="minimize") == "best of 3 trials: 0.25 with seed=2"
    assert best_trial(jobs, direction="maximize") == "best of 3 trials: 0.5 with seed=1"
    assert best_trial(jobs[:1], direction="minimize").startswith("no best trial: none of 1 ")


def test_the_screen_shows_what_differs_and_the_files_show_all(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    jobs = [
        status(0, states.RAN, metric="val/mse", value=0.0312345, folder="out/a", seconds=61.2),
        status(1, states.DONE, metric="val/mse", value=0.5),
        status(2, states.FAILED, detail="a | b " + 300 * "x", traceback="j/0002.traceback.txt"),
    ]
    lines = printed(jobs).splitlines()
    assert lines[0] == "all: experiment=e4e data=faces_mini"
    assert lines[1].split() == ["job", "overrides", "state", "value", "or", "error"]
    assert lines[2].split() == ["0", "seed=0", "ran", "val/mse", "0.031234"]
    assert lines[3].split() == ["1", "seed=1", "done", "before", "val/mse", "0.5"]
    assert lines[4].split()[:6] == ["2", "seed=2", "failed", "a", "|", "b"]
    assert max(map(len, lines)) <= 80 and "".join(lines[5:-1]).count("x") < 200
    assert "(j/0002.traceback.txt)" in "".join(line.strip() for line in lines)
    assert lines[-1] == counted(jobs) == "3 jobs: 1 ran, 1 done before, 1 failed"

    page = write_table(tmp_path, jobs, command="python train.py -m x", best="best: seed=0")
    text = page.read_text()
    assert "`python train.py -m x`" in text and "best: seed=0" in text
    row = "| 0 | `experiment=e4e data=faces_mini seed=0` | ran | val/mse 0.031234 | out/a | 61 |"
    assert row in text.splitlines()
    assert "a \\| b " + 300 * "x" + " (j/0002.traceback.txt)" in text
    stored = json.loads((tmp_path / "table.json").read_text())
    assert stored["command"] == "python train.py -m x"
    assert [job["state"] for job in stored["jobs"]] == ["ran", "done before", "failed"]
    assert stored["jobs"][0]["value"] == 0.0312345


def test_one_job_is_shown_with_all_its_words():
    assert "0  experiment=e4e data=faces_mini seed=0" in printed([status(0, states.RAN)])
    assert counted([status(0, states.RAN)]) == "1 job: 1 ran"
    assert counted([]) == "0 jobs: none"
