"""The paper's tables, typed anew from its text, against the values in conf/table."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from idinvert.results.parse import described
from idinvert.results.spec import Table
from idinvert.results.tables import printed_text

GROUPS = Path(__file__).parents[2] / "conf" / "table"


def spec(name: str) -> dict[str, Any]:
    """The file as Hydra composes it."""
    with initialize_config_dir(str(GROUPS), version_base="1.3"):
        return OmegaConf.to_container(compose(name), resolve=True)  # type: ignore[return-value]


def table(name: str) -> Table:
    made = described(spec(name), scale="full")
    assert isinstance(made, Table)
    return made


EDITS = "Interpolation FID|Interpolation SWD|Manipulation FID|Manipulation SWD"
TABLE2 = {  # face, tower, bedroom: interpolation, manipulation
    "Image2StyleGAN [16]": (
        "77.54 30.98 31.56 27.46 82.37 68.41 76.35 52.54 50.46 60.60 67.10 60.58"
    ),
    "IDInvert (Ours)": "46.56 25.49 17.36 17.23 33.02 29.74 19.87 31.84 19.63 21.40 15.36 28.42",
}
TABLE3 = {  # face: MSE SSIM FID SWD; church: MSE SSIM FID SWD; speed
    "Base": "0.071 0.522 16.43 13.02 0.119 0.370 12.06 25.15 0.0042",
    "ResNet-18": "0.069 0.526 16.11 9.50 0.116 0.371 12.18 24.09 0.0045",
    "ResNet-34": "0.066 0.531 15.76 7.96 0.113 0.373 11.18 22.89 0.0068",
    "ResNet-50": "0.063 0.539 15.81 7.31 0.108 0.380 10.97 23.21 0.0081",
    "MobileNet": "0.077 0.502 17.11 13.43 0.121 0.362 13.78 26.13 0.0041",
}
TABLE4 = {  # inversion: FID SWD MSE SSIM; interpolation: FID SWD
    "e4e [43]": "39.48 12.97 0.054 0.562 83.59 34.48",
    "w/o Average": "27.95 22.46 0.074 0.529 70.69 38.15",
    "w/ Average": "14.93 8.37 0.036 0.585 52.52 36.71",
}
TABLE5 = {  # reconstruction: FID SWD MSE SSIM; interpolation: FID SWD; StyleGAN, then StyleGAN2
    "w/o Retraining": "16.08 17.34 0.061 0.551 44.97 25.38 15.30 9.28 0.049 0.575 50.46 29.60",
    "w/ Retraining": "15.07 14.95 0.053 0.568 46.56 25.66 14.93 8.37 0.036 0.585 52.52 36.71",
}
TABLE6 = {  # B-1 to B-7
    "Reconstruction MSE": "0.068 0.065 0.047 0.025 0.010 0.004 0.00038",
    "Reconstruction SSIM": "0.495 0.498 0.531 0.634 0.765 0.886 0.989",
    "Interpolation FID": "41.89 43.39 44.29 48.74 49.58 52.89 58.26",
    "Interpolation SWD": "59.91 62.67 65.44 65.48 65.08 65.56 66.49",
}
TABLE7 = {  # StyleGAN: reconstruction FID SWD MSE SSIM, interpolation FID SWD; then StyleGAN2
    "Tower": "12.41 19.50 0.093 0.500 33.02 29.74 8.55 18.60 0.091 0.504 32.19 40.80",
    "Bedroom": "9.61 21.93 0.079 0.521 19.63 21.40 6.56 19.73 0.078 0.528 20.13 24.20",
}


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


OF_INVERSION = "|".join(f"Inversion {name}" for name in ("FID", "SWD", "MSE", "SSIM"))
OF_INVERSION += "|Interpolation FID|Interpolation SWD"
OF_RECONSTRUCTION = OF_INVERSION.replace("Inversion", "Reconstruction")
BOTH = (("StyleGAN", OF_RECONSTRUCTION), ("StyleGAN2", OF_RECONSTRUCTION))


@pytest.mark.parametrize(
    ("name", "printed", "rows", "places"),
    [
        ("table2_editing", TABLE2, 2, [(group, EDITS) for group in ("Face", "Tower", "Bedroom")]),
        (
            "table3_encoders",
            TABLE3,
            5,
            [("Face", "MSE|SSIM|FID|SWD"), ("Church", "MSE|SSIM|FID|SWD"), ("Speed", "Speed")],
        ),
        # e4e by its encoder; the others by encoder and by inversion
        ("table4_offset", TABLE4, 5, [("Face", OF_INVERSION)]),
        ("table5_retraining", TABLE5, 4, BOTH),
    ],
)
def test_rows_are_the_papers(name, printed, rows, places):
    found = table(name).rows
    assert len(found) == rows
    assert {row.label.split(",")[0] for row in found} == set(printed)
    for row in found:
        values = [row.printed[group][c] for group, columns in places for c in columns.split("|")]
        assert values == numbers(printed[row.label.split(",")[0]]), row.label


def test_table_6():
    rows = {row.label: row for row in table("table6_noise").rows}
    assert set(rows) == {f"B-{k}" for k in range(8)} and not rows["B-0"].printed
    for column, text in TABLE6.items():
        found = [rows[f"B-{k}"].printed["Face"][column] for k in range(1, 8)]
        assert found == numbers(text), column
    assert printed_text(rows["B-7"].printed["Face"]["Reconstruction MSE"], 3) == "0.00038"
    assert printed_text(rows["B-5"].printed["Face"]["Reconstruction MSE"], 3) == "0.010"


def test_table_7():
    rows = table("table7_datasets").rows
    assert [row.label.split(", ")[1] for row in rows] == ["encoder", "in-domain inversion"]
    for row in rows:
        for name, text in TABLE7.items():
            places = [(f"{name}, {group}", columns.split("|")) for group, columns in BOTH]
            found = [row.printed[group][c] for group, columns in places for c in columns]
            assert found == numbers(text), (row.label, name)


def test_figure_10_has_the_weights_and_the_points_of_the_tables():
    lines = spec("fig10_lambda_dom")["lines"]
    assert [line["values"] for line in lines] == [[0, 0.5, 2, 5, 10, 20, 40]] * 2
    assert [line["printed"] for line in lines] == [[[2, 17.36]], [[2, 100 * 0.053]]]


def test_a_file_has_the_name_that_it_says():
    for path in sorted(GROUPS.glob("*.yaml")):
        assert spec(path.stem)["name"] == path.stem
        assert path.read_text().splitlines()[0] == f"# python evaluate.py table={path.stem}"
