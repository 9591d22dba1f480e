"""`python -m idinvert.data` as people run it: processes, kills, Ctrl-C, what is printed."""

import io
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idinvert.data.__main__ import main
from idinvert.data.progress import Progress
from tests.data.pictures import picture, write_folder
from tests.processes import children_of, is_alive

COMMAND = [sys.executable, "-m", "idinvert.data", "prepare"]


@pytest.fixture
def photos(tmp_path):
    """A dozen, of which one is damaged and one is there twice."""
    files = {f"{i:02d}.png": picture(i) for i in range(10)}
    return write_folder(
        tmp_path / "photos", {**files, "05x.png": b"junk", "06x.png": files["01.png"]}
    )


def test_prepare_prints_its_report(photos, tmp_path, capsys):
    out = str(tmp_path / "out.zip")
    assert main(["prepare", str(photos), out, "--resolution", "8", "--workers", "1"]) == 0
    printed, shown = capsys.readouterr()
    assert "10 of 12 images, 8 pixels, zip" in printed
    assert "dropped   1 corrupt, 0 small, 1 duplicate" in printed
    assert "corrupt   05x.png: cannot identify image file" in printed
    assert f"use it    data=folder data.path={out}" in printed
    assert "12 of 12" in shown
    assert main(["prepare", str(photos), out, "--resolution", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 10


def test_errors_end_without_a_traceback(photos, tmp_path, capsys, monkeypatch):
    words = ["prepare", str(photos), str(tmp_path / "out.zip"), "--workers", "1"]
    assert main([*words, "--resolution", "8", "--on-corrupt", "error"]) == 2
    assert "error: 05x.png" in capsys.readouterr().err
    assert main([*words, "--resolution", "0"]) == 2
    assert "--resolution" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("idinvert.data.prepare_journal.decode", stopped)
    assert main([*words, "--resolution", "8"]) == 130
    assert "give the same command again to continue" in capsys.readouterr().err


def test_inspect_tells_what_is_there(photos, tmp_path, capsys):
    write_folder(photos, {"z.jpg": picture(77, width=30, height=30, form="JPEG")})
    assert main(["inspect", str(photos), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["damaged"], facts["duplicates"]) == (13, 1, 1)
    assert facts["damaged_names"] == ["05x.png"]
    assert facts["duplicate_names"] == [["01.png", "06x.png"]]
    assert facts["formats"] == {"PNG": 11, "JPEG": 1} and facts["modes"] == {"RGB": 12}
    assert facts["sizes"] == {"20x16": 11, "30x30": 1}
    assert facts["shorter_side"] == [16, 30] and facts["square"] == 1
    assert main(["inspect", str(photos)]) == 0
    printed = capsys.readouterr().out
    assert "13 images, 1 damaged, 1 duplicates" in printed and "PNG 11, JPEG 1" in printed
    assert main(["prepare", str(photos), str(tmp_path / "o.zip"), "--resolution", "8"]) == 0
    assert main(["inspect", str(tmp_path / "o.zip")]) == 0
    assert "prepared  resolution 8, format zip" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2


def test_the_progress_line():
    line = Progress("preparing", 1_000, done=200).line(600, seconds=4.0)
    assert line == "preparing [##############..........] 600 of 1,000, 100.0 images/s, 0:00:04 left"
    assert Progress("preparing", 10, done=5).line(5, seconds=1.0).endswith("5 of 10")
    assert Progress("x.pkl", None, unit="bytes").line(1_500, seconds=2.0) == (
        "x.pkl 1,500 bytes, 750.0 bytes/s"
    )


def test_a_terminal_gets_a_bar_of_its_width_and_a_file_lines(monkeypatch):
    losses = "total 0.0543  pixel 0.0312  perceptual 0.0182  adversarial 0.0441  r1 0.00121"
    monkeypatch.setenv("TERM", "xterm")
    for width in (40, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        for terminal in (True, False):
            file = io.StringIO()
            monkeypatch.setattr(file, "isatty", lambda terminal=terminal: terminal)
            with Progress("training", 100_000, done=500, file=file) as bar:
                bar.began -= 10
                for done in (600.4, 90_000):
                    bar.written -= 20
                    bar.update(done, note=losses)
            text = file.getvalue()
            assert text.endswith("\n") and text.count("training") == 2 + terminal
            assert ("\x1b[" in text and "\r" in text) is terminal
            plain = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text).replace("\r", "\n")
            assert "90,000" in plain and "0.00121" in plain
            assert ("left" in plain) is (width >= 80 or not terminal)
            assert not terminal or max(map(len, plain.split("\n"))) <= width
    with Progress("inverting", 10, shown=False, file=file) as bar:
        bar.update(10)
    assert file.getvalue() == text


def lines_of(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.slow
def test_workers_kills_and_interrupts_change_no_byte(tmp_path):
    files = {f"{i:03d}.png": picture(i, width=300, height=280) for i in range(400)}
    photos = write_folder(tmp_path / "photos", {**files, "100x.png": b"junk", "200.png": b""})
    one, out = tmp_path / "one.zip", tmp_path / "killed.zip"
    size = ["--resolution", "128", "--workers"]
    subprocess.run([*COMMAND, photos, one, *size, "1"], check=True, timeout=300)

    journal = tmp_path / "killed.zip.partial" / "journal.jsonl"
    rng = random.Random(0)
    ends = []
    for workers, how in (("1", signal.SIGKILL), ("1", signal.SIGKILL), ("2", signal.SIGINT)):
        before = lines_of(journal)
        process = subprocess.Popen([*COMMAND, photos, out, *size, workers])
        deadline = time.monotonic() + 200
        while lines_of(journal) <= before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.random() * 0.02)
        process.send_signal(how)
        ends.append((process.wait(timeout=60), -how if how == signal.SIGKILL else 130))
        if out.exists():  # a quick machine was done before the signal came
            break
        assert before < lines_of(journal) <= len(files) + 2
        assert ends[-1][0] == ends[-1][1]
    assert ends[0][0] == -signal.SIGKILL
    subprocess.run([*COMMAND, photos, out, *size, "3"], check=True, timeout=300)
    assert out.read_bytes() == one.read_bytes()
    assert not journal.parent.exists()


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    files = {f"{i:03d}.png": picture(i, width=300, height=280) for i in range(400)}
    photos, out = write_folder(tmp_path / "photos", files), tmp_path / "out.zip"
    process = subprocess.Popen([*COMMAND, photos, out, "--resolution", "128", "--workers", "2"])
    journal = tmp_path / "out.zip.partial" / "journal.jsonl"
    deadline = time.monotonic() + 200
    while not lines_of(journal):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    children = children_of(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(is_alive(child) for child in children):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)
