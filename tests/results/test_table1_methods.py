"""Table 1 as shipped: the paper's figures, the right records, an honest rendering."""

import csv
import functools
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from idinvert.cli.tables import expected_choices
from idinvert.results.cells import FilledTable, TableCell, evaluations, filled
from idinvert.results.latex import escape, to_latex
from idinvert.results.parse import described
from idinvert.results.record import Record
from idinvert.results.render import to_csv, write
from idinvert.results.spec import Table
from idinvert.results.tables import to_markdown

GROUPS = Path(__file__).parents[2] / "conf" / "table"

PAPER = """
Conventional Encoder [9] 50.11 83.49 0.282 0.464 39.38 74.94 0.293 0.525 61.60 84.38 0.196 0.681
Image2StyleGAN [16] 25.35 27.31 0.702 0.026 39.54 58.12 0.594 0.061 43.17 61.40 0.684 0.036
Domain-Guided Encoder (Ours) 16.43 13.02 0.522 0.071 12.41 19.50 0.500 0.093 9.61 21.93 0.521 0.079
In-Domain Inversion (Ours) 15.07 14.92 0.568 0.053 12.47 15.17 0.530 0.087 11.07 20.90 0.560 0.066
"""

METHODS = {
    "Conventional Encoder [9]": ("conventional", {"name": "encoder", "steps": 0}),
    "Image2StyleGAN [16]": ("domain_guided", {"name": "image2stylegan", "steps": 300, "lr": 0.1}),
    "Domain-Guided Encoder (Ours)": ("domain_guided", {"name": "encoder", "steps": 0}),
    "In-Domain Inversion (Ours)": (
        "domain_guided",
        {"name": "in_domain", "steps": 100, "lambda_dom": 2.0},
    ),
}

LAMBDAS = {"domain_guided": {"lambda_adv": 0.1}}
OF_AN_ENCODER = ("objective", "encoder", "latent")
OF_CODES = {
    "code_distance": 2.0,
    "code_radius_beyond": 0.0,
    "code_error": 1.0,
    "moved": 0.2,
    "leaked": 0.1,
}
OURS = len(OF_CODES)
"""Columns at the end of a row; they have no value of the paper's beside them."""


def spec() -> dict[str, Any]:
    """The file as Hydra composes it."""
    with initialize_config_dir(str(GROUPS), version_base="1.3"):
        return OmegaConf.to_container(compose("table1_methods"), resolve=True)


@functools.cache
def table(scale: str = "miniature", reference: str = "disjoint") -> Table:
    made = described(spec(), scale=scale, expected=expected_choices, reference=reference)
    assert isinstance(made, Table)
    return made


def fill(table: Table, records: list[Record]) -> FilledTable:
    shown = filled(table, records)
    assert isinstance(shown, FilledTable)
    return shown


def record(method: str, *, choices: dict[str, Any] | None = None, **changes: Any) -> Record:
    objective, inversion = METHODS[method]
    plain: dict[str, Any] = {
        "run": "run-" + objective,
        "task": "reconstruction",
        "choices": {
            "scale": "miniature",
            "objective": {"name": objective} | LAMBDAS.get(objective, {}),
            "generator": {"name": "stylegan", "multi_w": True},
            "encoder": {"name": "base", "variant": "v2", "noise_blocks": 0},
            "latent": {"space": "w_plus", "offset": "none"},
            "inversion": inversion,
            **(choices or {}),
        },
        "metrics": OF_CODES
        | {"fd_attributes": 0.5, "swd": 30.0, "ssim": 0.7, "mse": 0.04, "swd_floor": 3.25},
        "protocol": {"swd": "PGGAN protocol; seed 0", "fd_attributes": "on attributes features"},
        "n": 500,
        "nimg": 200_000,
        "data": {"name": "faces_mini", "resolution": 32, "fingerprint": "f00d", "split": "test"},
        "seed": 0,
        "created": "2026-01-01T00:00:00.000+00:00",  # all at once: no test depends on the clock
    }
    if inversion["name"] == "image2stylegan":  # it has no encoder
        plain["choices"] = {k: v for k, v in plain["choices"].items() if k not in OF_AN_ENCODER}
    return Record(**{**plain, **changes})


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def line_of(text: str, label: str) -> list[str]:
    line = next(one for one in text.splitlines() if one.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def value(shown: FilledTable, row: str, column: str, group: str = "Face") -> TableCell:
    (cell,) = [
        c
        for c in shown.cells
        if (c.row.label, c.column.label, c.group.label) == (row, column, group)
    ]
    return cell


def test_the_file_opens_with_its_command_and_holds_the_papers_figures():
    first = (GROUPS / "table1_methods.yaml").read_text().splitlines()[0]
    assert first == "# python evaluate.py table=table1_methods"
    rows = {row.label: row.printed for row in table().rows}
    for line in PAPER.strip().splitlines():
        label, figures = re.fullmatch(r"(.*?)((?: [\d.]+){12})", line).groups()
        numbers = [float(number) for number in figures.split()]
        printed = rows[label]
        listed = [
            printed[group][column]
            for group in ("Face", "Tower", "Bedroom")
            for column in ("FID", "SWD", "SSIM", "MSE")
        ]
        assert listed == numbers, label


def test_each_row_takes_its_own_records():
    records = [
        record(label, metrics={"mse": 0.1 * (index + 1)}) for index, label in enumerate(METHODS)
    ]
    shown = fill(table(), records)
    for index, label in enumerate(METHODS):
        assert value(shown, label, "MSE").value == pytest.approx(0.1 * (index + 1)), label
    assert value(shown, "In-Domain Inversion (Ours), 1,000 steps", "MSE").value is None


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"name": "ffhq256", "split": "test"}},
        {"data": {"name": "faces_mini", "split": "val"}},
        {"task": "interpolation"},
        {"choices": {"scale": "full"}},
        {"choices": {"encoder": {"name": "resnet18"}}},
        {"choices": {"encoder": {"name": "base", "noise_blocks": 2}}},
        {"choices": {"generator": {"name": "stylegan", "multi_w": False}}},
        {"choices": {"generator": {"name": "stylegan2", "multi_w": True}}},
        {"choices": {"objective": {"name": "domain_guided", "lambda_adv": 0.08}}},
        {"choices": {"latent": {"space": "w"}}},
        {"choices": {"latent": {"offset": "w_avg"}}},
        {"choices": {"inversion": {"name": "in_domain", "steps": 100, "lambda_dom": 10.0}}},
    ],
)
def test_records_of_another_kind_stay_out(changes):
    label = "In-Domain Inversion (Ours)"
    assert value(fill(table(), [record(label)]), label, "MSE").value == 0.04
    shown = fill(table(), [record(label, **changes)])
    assert value(shown, label, "MSE").value is None


def test_a_scale_shows_its_own_records_only():
    label = "Domain-Guided Encoder (Ours)"
    full = record(
        label,
        choices={"scale": "full"},
        data={"name": "ffhq256", "resolution": 256, "split": "test"},
        metrics={"fid": 17.0, "mse": 0.08},
    )
    records = [record(label), full]
    assert value(fill(table("miniature"), records), label, "MSE").value == 0.04
    shown = fill(table("full"), records)
    assert value(shown, label, "MSE").value == 0.08
    assert "| FID ↓ (ffhq256) | paper (FFHQ, FID) ↓ |" in to_markdown(shown)


def test_the_header_names_the_extractor_and_the_paper_stands_beside():
    text = to_markdown(fill(table(), [record("Domain-Guided Encoder (Ours)")]))
    face = section(text, "Face")
    assert "| fd_attributes ↓ (faces_mini) | paper (FFHQ, FID) ↓ | SWD ↓ (faces_mini) |" in face
    assert "FID ↓ (faces_mini)" not in face
    line = line_of(face, "Domain-Guided Encoder (Ours)")
    paper = ["0.500", "16.43", "30.00", "**13.02**", "0.700", "0.522", "0.0400", "0.071"]
    assert line[1:-OURS] == paper and len(line) == 1 + len(paper) + OURS


def test_all_rows_of_a_column_show_the_same_metric():
    ours = "Domain-Guided Encoder (Ours)"
    both = [
        record(ours, metrics={"fd_attributes": 0.5}),
        record("Conventional Encoder [9]", metrics={"fd_attributes": 2.5}),
        record("Image2StyleGAN [16]", metrics={"fid": 40.0}),
    ]
    shown = fill(table(), both)
    assert value(shown, ours, "FID").metric == "fd_attributes"
    cell = value(shown, "Image2StyleGAN [16]", "FID")
    assert cell.value is None
    assert cell.missing.reason == "run run-domain_guided was evaluated without fd_attributes"
    preferred = fill(table(), [record(ours, metrics={"fd_attributes": 0.5, "fid": 20.0})])
    assert value(preferred, ours, "FID").metric == "fid"


def test_the_caption_says_what_was_measured_how_and_by_which_run():
    records = [
        record("Conventional Encoder [9]"),
        record("In-Domain Inversion (Ours)", nimg=150_000),
        record("In-Domain Inversion (Ours)", seed=1),
    ]
    face = section(to_markdown(fill(table(), records)), "Face")
    measured = "Measured on faces_mini, 32 px, split test, fingerprint f00d, n = 500 images."
    assert measured in face
    assert "swd: PGGAN protocol; seed 0; floor 3.25 (two disjoint sets of real images)." in face
    assert "fd_attributes: on attributes features." in face
    provenance = face[face.index("| Method | run |") :]
    assert line_of(provenance, "In-Domain Inversion (Ours)")[1:7] == [
        "run-domain_guided",
        "200,000",
        "100",
        "1",
        "500",
        "2",
    ]
    assert line_of(provenance, "Conventional Encoder [9]")[2:4] == ["200,000", "0"]


def test_an_empty_cell_says_why_and_how_to_fill_it():
    label = "In-Domain Inversion (Ours)"
    text = to_markdown(fill(table(), []))
    assert line_of(section(text, "Face"), label)[1] == "— (d)"
    entry = text[text.index("- (d) Face") :].split("\n- (")[0]
    assert "(FID, SWD, SSIM, MSE, code distance (ours)," in entry
    assert "leaked (ours)): there are no records." in entry
    train = "python train.py experiment=domain_guided data=faces_mini scale=miniature"
    assert f"`{train} generator.path=trained:stylegan_multi_w`" in entry
    command = "python evaluate.py run=RUN task=reconstruction inversion=in_domain"
    assert f"`{command} inversion.steps=100`" in entry

    encoder = record("Domain-Guided Encoder (Ours)", run="beef")
    (missing,) = {
        one.missing
        for one in fill(table(), [encoder]).cells
        if (one.row.label, one.group.label) == (label, "Face")
    }
    assert missing.run == "beef"  # the run is there: evaluate it, train nothing
    assert missing.commands == (command.replace("RUN", "beef") + " inversion.steps=100",)

    other = record(label, choices={"encoder": {"name": "resnet18"}}, run="cafe")
    cell = value(fill(table(), [other]), label, "MSE")
    assert cell.missing.reason == (
        "no record; the closest is of run cafe, but choices.encoder.name is resnet18, wanted base"
    )
    assert len(cell.missing.commands) == 2


def test_a_figure_that_is_not_finite_is_no_figure():
    label = "Conventional Encoder [9]"
    shown = fill(table(), [record(label, metrics={"mse": float("nan"), "ssim": 0.1})])
    cell = value(shown, label, "MSE")
    assert cell.value is None
    assert cell.missing.reason == "mse is not a finite number in run run-conventional"


def test_what_rows_do_not_share_is_said():
    records = [
        record("Conventional Encoder [9]", n=100),
        record("Domain-Guided Encoder (Ours)", protocol={"swd": "another way"}),
    ]
    face = section(to_markdown(fill(table(), records)), "Face")
    assert "**Caution**: the rows of Face stand on different numbers of images: 100 and 500" in face
    assert "**Caution**: the rows of Face measured swd in different ways" in face
    other = record("Image2StyleGAN [16]", choices={"task": {"seed": 3}})
    face = section(to_markdown(fill(table(), [record("Conventional Encoder [9]"), other])), "Face")
    assert "**Caution**: the rows of Face measured mse with other options of the task" in face
    short = record("Domain-Guided Encoder (Ours)", nimg=20_000)
    face = section(to_markdown(fill(table(), [record("Conventional Encoder [9]"), short])), "Face")
    assert "**Caution**: the encoders of Face were trained on 20,000 and 200,000 images" in face
    without = record("Image2StyleGAN [16]", nimg=800_000)
    face = section(to_markdown(fill(table(), [short, without])), "Face")
    assert "were trained on" not in face, "Image2StyleGAN's images are the GAN's"
    same = section(to_markdown(fill(table(), [record("Conventional Encoder [9]")])), "Face")
    assert "Caution" not in same


def test_the_order_of_the_methods_is_compared():
    labels = list(METHODS)[:3]  # the paper's MSE: 0.464, 0.026, 0.071
    records = [
        record(label, metrics={"mse": mse})
        for label, mse in zip(labels, (0.3, 0.1, 0.05), strict=True)
    ]
    face = section(to_markdown(fill(table(), records)), "Face")
    assert "Pairs of methods in the paper's order: mse 2 of 3." in face
    assert line_of(face, labels[2])[-2 - OURS : -OURS] == ["**0.0500**", "0.071"]
    assert line_of(face, labels[1])[-2 - OURS : -OURS] == ["0.100", "**0.026**"]


def test_csv_has_a_line_a_cell():
    shown = fill(table(), [record("Domain-Guided Encoder (Ours)")])
    lines = list(csv.DictReader(io.StringIO(to_csv(shown))))
    assert len(lines) == 8 * 3 * (4 + OURS)
    (line,) = [
        one
        for one in lines
        if (one["group"], one["row"], one["column"])
        == ("Face", "Domain-Guided Encoder (Ours)", "FID")
    ]
    assert (line["metric"], line["measured"], line["data"]) == (
        "fd_attributes",
        "0.5",
        "faces_mini",
    )
    assert (line["paper"], line["paper_data"], line["n"]) == ("16.43", "FFHQ", "500")


def test_latex_is_escaped_and_balanced():
    text = to_latex(fill(table(), [record("Domain-Guided Encoder (Ours)")]))
    for name in ("table*", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    assert r"fd\_attributes $\downarrow$ & paper (FFHQ, FID) $\downarrow$" in text
    body = re.findall(r"^.* \\\\$", text, flags=re.MULTILINE)
    assert len(body) == 3 * (1 + 8)
    assert {line.count(" & ") for line in body} == {8 + OURS}
    assert re.search(r"(?<!\\)_", text.replace("tab:table1_methods", "")) is None
    assert escape("50% & a_b {x}") == r"50\% \& a\_b \{x\}"


def test_files_are_written_whole(tmp_path):
    shown = fill(table(), [])
    paths = write(shown, tmp_path / "new")
    assert [path.name for path in paths] == [
        "table1_methods.miniature.md",
        "table1_methods.miniature.csv",
        "table1_methods.miniature.tex",
    ]
    assert paths[0].read_text() == to_markdown(shown)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in paths
    )


def test_intervals_and_the_reference_stand_beside_the_figures():
    labels = list(METHODS)[:3]
    old = record(labels[0], metrics={"fd_attributes": 0.01, "mse": 0.001}, reference="same")
    new = record(labels[1], reference="disjoint", intervals={"mse": (0.0375, 0.0425)})
    worse = record(labels[2], metrics={"fd_attributes": 0.75}, reference="disjoint")
    shown = fill(table(), [old, new, worse])
    face = section(to_markdown(shown), "Face")
    assert line_of(face, labels[0])[1] == "0.0100†"
    assert line_of(face, labels[1])[1] == "**0.500**", "the best of those that can be compared"
    assert line_of(face, labels[1])[-2 - OURS] == "0.0400 ± 0.0025"
    assert line_of(face, labels[0])[-2 - OURS] == "**0.00100**", "a mean has no reference"
    assert "- †: distances to the very images that were inverted (reference=same" in face
    assert "fd_attributes 0 of 1" in face, "pairs of one reference alone"
    lines = {
        (one["row"], one["column"]): one
        for one in csv.DictReader(io.StringIO(to_csv(shown)))
        if one["group"] == "Face"
    }
    cell = lines[labels[1], "MSE"]
    assert (cell["low"], cell["high"], cell["reference"]) == ("0.0375", "0.0425", "")
    assert lines[labels[0], "FID"]["reference"] == "same"
    text = to_latex(shown)
    assert r"0.0400 $\pm$ 0.0025" in text and r"0.0100$^\dagger$" in text
    needs = [place.label for place, done in evaluations(shown) if not done]
    assert f"{labels[0]}, Face" in needs, "measured again where its run is at hand"
    assert f"{labels[1]}, Face" not in needs
    asked = table(reference="same")
    face = section(to_markdown(fill(asked, [old, new])), "Face")
    assert line_of(face, labels[0])[1] == "0.0100" and line_of(face, labels[1])[1] == "0.500†"


def test_several_seeds_are_a_mean_with_its_deviation():
    label = "Domain-Guided Encoder (Ours)"
    of_seeds = [
        record(label, run=f"r{seed}", seed=seed, metrics={"mse": mse, **more}, intervals=wide)
        for seed, mse, more in ((1, 0.06, {}), (0, 0.03, {"ssim": 0.7}), (2, 0.06, {}))
        for wide in [{"mse": (mse - 0.001, mse + 0.001)}]
    ]
    elsewhere = {**record(label).data, "fingerprint": "x"}
    other = [
        record(label, seed=3, metrics={"mse": 9.0}, nimg=1_000),
        record(label, seed=4, metrics={"mse": 9.0}, n=100),
        record(label, seed=0, metrics={"mse": 9.0}, created="2020"),
        record(label, seed=5, metrics={"mse": 9.0}, data=elsewhere),
    ]
    shown = fill(table(), [*other, *of_seeds])
    cell = value(shown, label, "MSE")
    assert cell.values == [0.03, 0.06, 0.06], "of equal training and images, in the order of seeds"
    assert cell.value == pytest.approx(0.05)
    assert cell.deviation == pytest.approx(0.03 / 3**0.5)
    face = section(to_markdown(shown), "Face")
    assert line_of(face, label)[-2 - OURS] == "0.0500 ± 0.0173‡"
    assert line_of(face, label)[5] == "0.700", "one seed alone has it"
    assert "- ‡: mean over the seeds" in to_markdown(shown)
    runs = face[face.index("| Method | run |") :]
    assert line_of(runs, label)[1:6] == ["r0", "200,000", "0", "0", "500"]
    assert "| r0, r1, r2 | 200,000 | 0 | 0, 1, 2 | 500 |" in runs
    assert r"0.0500 $\pm$ 0.0173$^\ddagger$" in to_latex(shown)
    assert "runs r0, r1, r2, nimg 200,000, steps 0, seeds 0, 1, 2, n 500" in to_latex(shown)
    lines = [one for one in csv.DictReader(io.StringIO(to_csv(shown))) if one["measured"]]
    assert {(one["column"], one["seeds"], one["deviation"][:6]) for one in lines} == {
        ("MSE", "3", "0.0173"),
        ("SSIM", "1", ""),
    }
    broken = record(label, run="bad", seed=6, metrics={"mse": float("nan")})
    cell = value(fill(table(), [*of_seeds, broken]), label, "MSE")
    assert cell.value is None and cell.missing.reason == "mse is not a finite number in run bad"


def test_a_record_with_the_reference_comes_before_one_without():
    label = next(iter(METHODS))
    old = record(label, metrics={"fd_attributes": 0.1, "mse": 0.2}, n=900, reference="same")
    new = record(label, metrics={"fd_attributes": 0.3, "mse": 0.4}, reference="disjoint")
    shown = fill(table(), [old, new])
    assert value(shown, label, "FID").value == 0.3
    assert value(shown, label, "MSE").value == 0.2, "of the most images"


def test_small_intervals_are_not_rounded_away():
    label = next(iter(METHODS))
    one = record(label, metrics={"ssim": 0.7}, intervals={"ssim": (0.69999, 0.70001)})
    face = section(to_markdown(fill(table(), [one])), "Face")
    assert line_of(face, label)[5] == "0.700 ± 1e-05"
