"""Every measured figure on the pages of experiments/ is one that a record holds, rounded."""

import csv
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from idinvert.checkpoints.bundle import assets_folder

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
PAGES = [*sorted(EXPERIMENTS.glob("*/README.md")), EXPERIMENTS / "CLAIMS.md"]

FIGURE = re.compile(r"(?<![\w./-])\d[\d,]*\.\d+(?![\w.]*\d)")
LINK = re.compile(r"\]\(([^)#]+(?:README\.md|records\.jsonl))\)")
NOT_MEASURED = {
    r"(torch|Python) \d+\.\d+": "a version",
    r"\d+\.\d MB": "the size of a file",
    r"(Sec|App|Secs)\. [\dA]+(\.\d)?": "a place in the paper",
    r"SqueezeNet 1\.1": "a network's name",
    r"[a-z_.]+=[\d.]+": "a setting",
    r"`[^`]*`": "code",
}
"""What may look like a figure, and what it is."""
FEW = 8
"""Numbers of a series that are figures, one a setting; longer ones are curves."""
SCALES = (1.0, 100.0, 1000.0)
"""Figures as they are, in hundredths and in thousandths (milliseconds)."""


def without_code(text: str) -> str:
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for pattern in NOT_MEASURED:
        text = re.sub(pattern, "", text)
    return text


def measured(folder: Path) -> Iterator[float]:
    """What the records and the table of a folder hold: figures, intervals' ends and half widths.

    Benchmarks and the GPU's tests write flat lines, whose numbers are all figures.
    """
    for path in folder.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            figures = record.get("metrics", record).values()
            yield from (value for value in figures if isinstance(value, int | float))
            for values in record.get("series", {}).values():
                yield from (abs(one) for one in values if one is not None and len(values) <= FEW)
            for low, high in record.get("intervals", {}).values():
                yield from (low, high, (high - low) / 2)
    for path in folder.glob("*.csv"):  # means over seeds; test_measured makes it from the records
        for line in csv.DictReader(path.open(encoding="utf-8")):
            yield from (float(line[of]) for of in ("measured", "deviation") if line.get(of))


def known(page: Path, text: str) -> list[float]:
    """Figures of the page's folder and of the pages that it links to, and the paper's."""
    folders = {page.parent, *((page.parent / link).resolve().parent for link in LINK.findall(text))}
    found = [value * scale for folder in folders for value in measured(folder) for scale in SCALES]
    for table in (ROOT / "conf" / "table").glob("*.yaml"):
        found += map(float, re.findall(r"\d+\.\d+", table.read_text(encoding="utf-8")))
    for path in assets_folder().glob("*/directions.safetensors"):  # their held-out accuracy
        with safe_open(path, framework="pt") as file:
            for one in json.loads(file.metadata()["directions"]).values():
                found += one["provenance"].get("accuracy", [])
    return found


def unbacked(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    values = known(page, text)
    missing = []
    for word in FIGURE.findall(without_code(text)):
        figure, decimals = float(word.replace(",", "")), len(word.split(".")[1])
        if not any(abs(value - figure) <= 0.5001 * 10**-decimals for value in values):
            missing.append(word)
    return missing


def test_claims_are_as_they_are_judged() -> None:
    judge = runpy.run_path(str(EXPERIMENTS / "claims" / "judge.py"))
    lines = (EXPERIMENTS / "claims" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    page = (EXPERIMENTS / "CLAIMS.md").read_text(encoding="utf-8")
    tables = judge["tables"]([json.loads(line) for line in lines])
    assert {name for name, text in tables.items() if text not in page} == set()
    judged = {line for text in tables.values() for line in text.splitlines()}
    verdicts = ("shown", "refuted", "supported", "contradicted", "undecided")
    assert [
        line for line in page.splitlines()
        if line.endswith("|") and any(word in line for word in verdicts) and line not in judged
    ] == []  # fmt: skip


def test_every_figure_has_a_record():
    found = {page.parent.name: unbacked(page) for page in PAGES}
    assert not {name: words for name, words in found.items() if words}, (
        "no record in the page's folder, nor of a page that it links to, holds these figures: "
        "measure them, or word the sentence without them"
    )


def test_a_figure_without_a_record_is_found(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    record = {"metrics": {"mse": 0.02437, "none": None}, "intervals": {"mse": [0.02, 0.03]}}
    (folder / "records.jsonl").write_text(json.dumps(record) + "\n")
    page = folder / "README.md"
    page.write_text("0.0244 ± 0.0050, hundredfold 2.44; `lr=0.33`, torch 2.15, App. A.1, 0.0247\n")
    assert unbacked(page) == ["0.0247"]
    other = tmp_path / "two"
    other.mkdir()
    (other / "README.md").write_text("0.024, by [one](../one/README.md), and 7.777")
    assert unbacked(other / "README.md") == ["7.777"]
