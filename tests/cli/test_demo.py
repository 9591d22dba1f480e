"""`make demo`, with two seconds of training for three minutes, on few images."""

import pytest
from PIL import Image

from idinvert.cli import demo
from idinvert.results.record import read_records

pytestmark = pytest.mark.slow


def test_the_demo_leaves_what_it_promises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "DATA", ["data.skip=64936", "data.test=64", "data.val=16"])
    demo.main(seconds=2, images=4)
    printed = capsys.readouterr().out
    out = tmp_path / "outputs" / "demo"
    widths = {"first": 1000, "reconstructions": 600, "edits": 500, "losses": 300}
    for name, least in ((f"{stem}.png", width) for stem, width in widths.items()):
        assert Image.open(out / name).width >= least, name
        assert f"outputs/demo/{name}" in printed
    assert printed.index("first.png") < printed.index("training a fresh")
    assert "correlation_" not in printed, "the console shows five metrics"
    assert "correlation_smile" in (out / "log.txt").read_text(encoding="utf-8")

    table = (out / "table.md").read_text(encoding="utf-8")
    for name in ("fresh, encoder alone", "shipped, in-domain"):
        line = next(line for line in printed.splitlines() if name in line)
        assert len([float(cell) for cell in line.split("│")[2:-1]]) == 5
    figures = table.split("- Measured on")[0]  # below it stands where they come from
    rows = {line.split("|")[1].strip(): line for line in figures.splitlines() if "|" in line}
    records = read_records(out / "records.jsonl")
    assert len(records) == 4 and all(record.n == 4 for record in records)
    for source in ("fresh", "shipped"):
        for method in ("Domain-Guided Encoder (Ours)", "In-Domain Inversion (Ours)"):
            cells = [cell.strip() for cell in rows[f"{method}, {source}"].strip("|").split("|")]
            # A distance stands with half of its 95 % interval: 87.03 ± 28.43.
            beside, ours = cells[1:9:2], cells[9:]  # the paper's figures stand beside the first
            measured = [float(cell.strip("*").split("±")[0]) for cell in [*beside, *ours]]
            assert len(measured) == 4 + 5
            assert all(value >= 0 for value in measured[:-2]), "edits may move the other way"
    assert len([label for label in rows if "(Ours)" in label]) == 4
    assert "16.43" in table, "the paper's figure beside ours"
    assert "faces_mini" in table and "fd_attributes" in table
    assert "What to try next" in printed


def test_a_second_demo_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = tmp_path / "outputs" / "demo" / "left from last time"
    left.parent.mkdir(parents=True)
    left.write_text("")
    monkeypatch.setattr(
        demo, "EvaluationContext", lambda config: (_ for _ in ()).throw(InterruptedError)
    )
    with pytest.raises(InterruptedError):
        demo.main(seconds=2, images=4)
    assert not left.exists()
