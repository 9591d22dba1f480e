"""The wheel alone, from a folder that knows nothing of the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from idinvert.checkpoints.bundle import assets_folder

REPOSITORY = Path(__file__).parents[2]
TINY = [
    "scale.resolution=16", "scale.channels=[8,8,8]", "scale.w_dim=8", "scale.mapping_depth=1",
    "data.train=16", "data.val=4", "data.test=8", "trainer=cpu", "batch_size=4", "nimg=8",
]  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network, from the backend that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *words, REPOSITORY], check=True, cwd=folder
    )
    (path,) = folder.glob("idinvert-*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder that the wheel is installed in, beside nothing else."""
    folder = tmp_path_factory.mktemp("site")
    words = ["install", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)
    return folder


def run(site: Path, cwd: Path, *words: str) -> str:
    """A command of the wheel as a process of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ
        | {"PYTHONPATH": str(site), "IDINVERT_CACHE": str(cwd / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    conf = {
        f"idinvert/conf/{path.relative_to(REPOSITORY / 'conf').as_posix()}"
        for path in (REPOSITORY / "conf").rglob("*.yaml")
    }
    assets = {
        f"idinvert/assets/{path.relative_to(assets_folder()).as_posix()}"
        for path in assets_folder().rglob("*.safetensors")
    }
    assert len(conf) > 20 and conf <= names
    records = {
        f"idinvert/{path.relative_to(REPOSITORY).as_posix()}"
        for path in (REPOSITORY / "experiments").glob("*/records.jsonl")
    }
    assert len(records) > 10 and records <= names
    assert assets and assets <= names
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "idinvert/py.typed" in names


def test_it_trains_and_evaluates_from_another_folder(site, tmp_path):
    where = "import idinvert; print(idinvert.__file__)"
    assert run(site, tmp_path, "-c", where).startswith(str(site)), "not the repository's"
    entry = {name: str(site / "bin" / f"idinvert-{name}") for name in ("train", "evaluate")}

    printed = run(site, tmp_path, entry["train"], "experiment=gan", *TINY)
    assert "finished at 8 images" in printed
    (weights,) = tmp_path.glob("outputs/gan/*/weights/generator.safetensors")
    assert weights.stat().st_size > 0

    faces = ["data.train=16", "data.val=4", "data.test=8", "n=4", "batch_size=4", "trainer=cpu"]
    shipped = ["task=reconstruction", "inversion=encoder", "metric.names=[mse]"]
    assert "reconstruction: 4 images" in run(site, tmp_path, entry["evaluate"], *shipped, *faces)
    assert (tmp_path / "outputs" / "records.jsonl").is_file()
