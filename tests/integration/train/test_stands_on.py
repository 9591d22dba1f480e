"""``run=RUN`` goes on with the images and networks that the run started with, or not at all."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from idinvert.config.run_folder import STANDS_ON
from idinvert.errors import ConfigError
from idinvert.training.callbacks.checkpoint import latest_checkpoint, nimg_of

EXPERIMENTS = ["gan", "attributes", "domain_guided", "conventional", "e4e", "force_in_domain"]
STANDS = {
    "gan": {"data"},
    "attributes": {"data"},
    "domain_guided": {"data", "generator", "discriminator", "perceptual"},
    "conventional": {"data", "generator"},
    "e4e": {"data", "generator", "perceptual"},
    "force_in_domain": {"data", "generator", "discriminator", "perceptual"},
}


@pytest.fixture
def go_on(command, tmp_path):
    place = f"system.outputs={tmp_path}"
    return lambda folder: command(f"run={folder}", "nimg=12", "max_seconds=0", place)


def state_of(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_whatever_a_run_stands_on_must_be_what_it_was(train_tiny, go_on, experiment):
    folder = train_tiny(experiment, "max_seconds=0")
    hashes = json.loads((folder / STANDS_ON).read_text())
    assert set(hashes) == STANDS[experiment]
    for key in hashes:
        other = hashes | {key: "0123456789abcdef"}
        (folder / STANDS_ON).write_text(json.dumps(other))
        before = state_of(folder)
        told = (
            rf"{key} \(.*\) was 0123456789abcdef and is {hashes[key]}.* start another run: python"
        )
        with pytest.raises(ConfigError, match=told):
            go_on(folder)
        assert state_of(folder) == before  # not even its provenance
    (folder / STANDS_ON).write_text(json.dumps(hashes))
    go_on(folder)
    assert nimg_of(latest_checkpoint(folder / "checkpoints")) > 4


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def test_one_image_more_in_the_folder(command, go_on, tmp_path, tiny):
    photos = tmp_path / "photos"
    pictures(photos, [f"{index:03d}.png" for index in range(24)])
    words = ["data=folder", f"data.path={photos}", "data.split.test=4", "data.val=4"]
    words += [word for word in tiny if not word.startswith("data.")]
    folder = command("experiment=gan", *words, f"system.outputs={tmp_path}", "max_seconds=0")
    go_on(folder)
    pictures(photos, ["0005.png"])
    with pytest.raises(ConfigError, match=rf"data \(data\.path={re.escape(str(photos))}\) was"):
        go_on(folder)
    (photos / "0005.png").unlink()
    go_on(folder)
    (folder / STANDS_ON).unlink()  # a run of before: its weights say it
    pictures(photos, ["0005.png"])
    with pytest.raises(ConfigError, match=r"data .* was"):
        go_on(folder)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_its_pictures_and_its_generator_have_moved_to(
    overrides, start, bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # all places are typed as below here
    pictures(Path("pics"), [f"{index:03d}.png" for index in range(40)])
    shutil.copytree(bundle["generator"], "gan")
    words = [
        word
        for word in overrides("domain_guided", "perceptual=none")
        if not word.startswith(("data.", "generator.", "system.outputs"))
    ]
    words += ["data=folder", "data.path=pics", "generator=checkpoint", "generator.path=gan"]

    def ends(*words):
        process = start(words)
        told = process.communicate(timeout=240)[0]
        return f"{process.returncode}: {told}"

    killed = start([*words, "nimg=100000", "checkpoint.every_nimg=8", "system.outputs=outputs"])
    while not (found := list(Path("outputs").glob("*/*/checkpoints/*.ckpt"))):
        assert killed.poll() is None, killed.output()
    killed.kill()
    killed.wait(60)
    folder = found[0].parents[1]
    Path("pics").rename("photos")
    Path("gan").rename("G")
    run = f"run={folder}"
    before = state_of(folder)
    assert ends(run, "nimg=32").startswith("2: error: no such file or folder: pics")
    pictures(Path("others"), [f"{index:03d}.png" for index in range(39)])
    moved = ("data.path=photos", "generator.path=G")
    for others, named in (
        ((*moved[1:], "data.path=others"), r"data \(data\.path=others\)"),
        ((moved[0], f"generator.path={bundle['multi_w']}"), r"generator"),
    ):
        told = ends(run, "nimg=32", *others)
        assert re.match(rf"2: error: .*{named}.* was \w+ and is \w+", told), told
        (hint,) = re.findall(r"start another run: (.*)", told)
        assert set(others) < set(hint.split()) and "pics" not in hint
    assert state_of(folder) == before, "no work was done"
    for words in (("nimg=4000", "max_seconds=0", *moved), ("nimg=4000", "max_seconds=0")):
        told = ends(run, *words)  # the second time from the places that it was given
        assert told.startswith("0: ") and "continuing domain_guided" in told, told


def test_a_gan_that_was_trained_on(train_tiny, go_on, bundle, command, tmp_path):
    gan = tmp_path / "gan" / bundle["generator"].name
    shutil.copytree(bundle["generator"], gan)
    folder = train_tiny("domain_guided", f"generator.path={gan}", "max_seconds=0")
    command(f"run={gan}", "nimg=12", f"system.outputs={tmp_path}")
    told = rf"generator \(generator\.path={gan}\) was .*; discriminator \(beside generator\.path="
    with pytest.raises(ConfigError, match=told):
        go_on(folder)
    again = train_tiny("domain_guided", f"generator.path={gan}", "max_seconds=0")
    assert again != folder  # the same command is another run
