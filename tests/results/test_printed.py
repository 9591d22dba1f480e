"""The paper's tables, typed anew from its text, against the values in conf/table."""

from pathlib import Path
from typing import Any

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


FOUR = ("FID", "SWD", "SSIM", "MSE")
EDITS = ("Interpolation FID", "Interpolation SWD", "Manipulation FID", "Manipulation SWD")
TABLE2 = {  # interpolation: face, tower, bedroom; then manipulation: face, tower, bedroom
    "Image2StyleGAN [16]": (
        "77.54 30.98 82.37 68.41 50.46 60.60",
        "31.56 27.46 76.35 52.54 67.10 60.58",
    ),
    "IDInvert (Ours)": (
        "46.56 25.49 33.02 29.74 19.63 21.40",
        "17.36 17.23 19.87 31.84 15.36 28.42",
    ),
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
SIX = ("FID", "SWD", "MSE", "SSIM")


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def six(part: str) -> list[str]:
    return [*(f"{part} {name}" for name in SIX), "Interpolation FID", "Interpolation SWD"]


def figures(row: Any, group: str, columns: list[str]) -> list[float]:
    return [row.printed[group][column] for column in columns]


def test_table_2() -> None:
    rows = {row.label: row for row in table("table2_editing").rows}
    assert set(rows) == set(TABLE2)
    for label, (between, moved) in TABLE2.items():
        for index, group in enumerate(("Face", "Tower", "Bedroom")):
            pair = slice(2 * index, 2 * index + 2)
            wanted = numbers(between)[pair] + numbers(moved)[pair]
            assert figures(rows[label], group, list(EDITS)) == wanted, (label, group)


def test_table_3() -> None:
    rows = {row.label: row for row in table("table3_encoders").rows}
    assert set(rows) == set(TABLE3)
    for label, text in TABLE3.items():
        found = [
            *figures(rows[label], "Face", ["MSE", "SSIM", "FID", "SWD"]),
            *figures(rows[label], "Church", ["MSE", "SSIM", "FID", "SWD"]),
            *figures(rows[label], "Speed", ["Speed"]),
        ]
        assert found == numbers(text), label


def test_table_4() -> None:
    rows = table("table4_offset").rows
    assert len(rows) == 5, "e4e by its encoder; the others by encoder and by inversion"
    for row in rows:
        label = row.label.split(",")[0]
        assert figures(row, "Face", six("Inversion")) == numbers(TABLE4[label]), row.label


def test_table_5() -> None:
    rows = table("table5_retraining").rows
    assert len(rows) == 4
    for row in rows:
        found = [
            *figures(row, "StyleGAN", six("Reconstruction")),
            *figures(row, "StyleGAN2", six("Reconstruction")),
        ]
        assert found == numbers(TABLE5[row.label.split(",")[0]]), row.label


def test_table_6() -> None:
    rows = {row.label: row for row in table("table6_noise").rows}
    assert set(rows) == {f"B-{k}" for k in range(8)} and not rows["B-0"].printed
    for column, text in TABLE6.items():
        found = [rows[f"B-{k}"].printed["Face"][column] for k in range(1, 8)]
        assert found == numbers(text), column
    assert printed_text(rows["B-7"].printed["Face"]["Reconstruction MSE"], 3) == "0.00038"
    assert printed_text(rows["B-5"].printed["Face"]["Reconstruction MSE"], 3) == "0.010"


def test_table_7() -> None:
    rows = table("table7_datasets").rows
    assert [row.label.split(", ")[1] for row in rows] == ["encoder", "in-domain inversion"]
    for row in rows:
        for name, text in TABLE7.items():
            found = [
                *figures(row, f"{name}, StyleGAN", six("Reconstruction")),
                *figures(row, f"{name}, StyleGAN2", six("Reconstruction")),
            ]
            assert found == numbers(text), (row.label, name)


def test_figure_10_has_the_weights_and_the_points_of_the_tables() -> None:
    lines = spec("fig10_lambda_dom")["lines"]
    assert [line["values"] for line in lines] == [[0, 0.5, 2, 5, 10, 20, 40]] * 2
    assert [line["printed"] for line in lines] == [[[2, 17.36]], [[2, 100 * 0.053]]]


def test_a_file_has_the_name_that_it_says() -> None:
    for path in sorted(GROUPS.glob("*.yaml")):
        assert spec(path.stem)["name"] == path.stem
        assert path.read_text().splitlines()[0] == f"# python evaluate.py table={path.stem}"
