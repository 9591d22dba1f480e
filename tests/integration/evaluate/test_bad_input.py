"""Bad input: the message names what was got and the key to change; nothing is left behind."""

import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from safetensors import SafetensorError

from idinvert import errors
from idinvert.checkpoints import tensor_file
from idinvert.checkpoints.release import load_network, save_network
from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain
from idinvert.config.run_folder import locked
from idinvert.networks.attributes import AttributeNetwork


@pytest.fixture
def invert(on_run):
    return lambda *words: on_run("task=invert", "inversion=encoder", *words)


@pytest.fixture
def photo(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (20, 20), (200, 40, 40)).save(folder / "a.png")
    return folder


def test_images_that_are_not_there_are_told_of_before_any_network_is_opened(photo):
    words = ["task=invert", "generator=checkpoint", "generator.path=none.pkl"]
    for images in ("nowhere", f"[{photo}/a.png,{photo}/b.png]", f"{photo}/*.jpg"):
        with pytest.raises(errors.DataError, match=r"no such file|no file matches"):
            evaluate(compose_plain("evaluate", [*words, f"images={images}"]))


def test_images_are_given_where_they_are_read_and_nowhere_else(invert, on_run, photo):
    with pytest.raises(errors.ConfigError, match="images=FOLDER"):
        invert()
    for task in ("reconstruction", "out_of_domain", "gallery", "initial"):
        with pytest.raises(errors.ConfigError, match="does not read images="):
            on_run(f"task={task}", f"images={photo}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no such folder", None, "no such folder"),
        ("no such file.png", None, "no such file.png"),
        ("none.zip", None, "none.zip"),
        ("papers/letter.txt", b"Dear", r"papers holds no image of PNG"),
        ("letter.txt", b"Dear", r"letter\.txt, expected a folder"),
        ("sent.zip", b"PK but not really", r"sent\.zip"),
    ],
)
def test_images_that_are_none(invert, tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(errors.DataError, match=rf"{message}.*`images`"):
        invert(f"images={path.parent if name.startswith('papers') else path}")


def test_a_folder_that_may_not_be_read(invert, photo, monkeypatch):
    look = os.scandir

    def refused(path):  # as anyone but the superuser would be, whom nothing stops
        if Path(path) == photo:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(errors.DataError, match=r"cannot read .*photos.*Permission.*`images`"):
        invert(f"images={photo}")


def test_damaged_and_small_images(invert, photo, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"task\.on_corrupt=ignore.*'skip'"):
        invert(f"images={photo}", "task.on_corrupt=ignore")
    Image.new("RGB", (300, 12)).save(photo / "small.png")
    with pytest.raises(
        errors.DataError, match=r"small\.png.*300x12.*at least 16.*task\.allow_upscale"
    ):
        invert(f"images={photo}", "task.on_corrupt=error")
    assert invert(f"images={photo}", "task.allow_upscale=true")[0].n == 2
    (photo / "empty.jpg").write_bytes(b"")
    with pytest.raises(errors.CorruptImageError, match=r"empty\.jpg.*task\.on_corrupt=skip"):
        invert(f"images={photo}", "task.allow_upscale=true", "task.on_corrupt=error")
    with pytest.warns(UserWarning, match=r"left out 1 damaged file and 1 small file of .*empty"):
        assert invert(f"images={photo}")[0].n == 1
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with (
        pytest.warns(UserWarning, match="left out 1 damaged"),
        pytest.raises(
            errors.DataError, match=r"every image of .*bad\.jpg is damaged or too small.*`images`"
        ),
    ):
        invert(f"images={tmp_path / 'bad.jpg'}", "task.on_corrupt=skip")


def test_names_in_a_zip_reach_no_other_folder(invert, photo, outputs):
    archive = photo.parent / "sent.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("/climbing/out.png", "../../climbing.png", "inside/..climbing/in.png"):
            file.write(photo / "a.png", name)
    (record,) = invert(f"images={archive}")
    assert record.n == 1, "names with dots in front are hidden files"
    found = [path for path in outputs.parent.rglob("*_out_*.png") if path.is_file()]
    assert found and all(path.is_relative_to(outputs) for path in found)


def test_weights_that_do_not_fit(on_run, outputs, world, tmp_path):
    """Cut off, of another role or resolution; without provenance they go by their content hash."""
    file = outputs / "domain_guided" / world.run.name / "weights" / "encoder.safetensors"
    other = world.gan / "weights" / "discriminator.safetensors"
    with pytest.raises(errors.CheckpointError, match=r"'discriminator'.*'encoder'.*encoder\.path"):
        on_run(f"encoder.path={other}")
    network = AttributeNetwork(resolution=32, kinds=["continuous"], names=["pose"], width=8)
    save_network(network, tmp_path / "attributes.safetensors", provenance={})
    with pytest.raises(errors.IdinvertError, match="images of 32 px, and these have 16 px"):
        path = tmp_path / "attributes.safetensors"
        on_run("inversion.steps=1", f"perceptual.network.path={path}")
    save_network(load_network(file, key="path"), file, provenance={})
    (record,) = on_run("inversion=encoder")
    assert record.run == record.checkpoints["encoder"] and record.nimg == 0
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        errors.CheckpointError, match=r"encoder\.safetensors.*truncated.*encoder\.path"
    ):
        on_run()


def test_two_processes_in_one_evaluation(on_run, outputs, world):
    on_run("inversion=encoder")
    (folder,) = (outputs / "evaluations" / world.run.name).iterdir()
    with locked(folder), pytest.raises(errors.RunLockedError, match="in use by process"):
        on_run("inversion=encoder")
    assert len(on_run("inversion=encoder")) == 1


def test_a_full_disk_loses_nothing_that_was_done(on_run, outputs, monkeypatch):
    save, saved = tensor_file.save_file, []

    def full(tensors, path, **kw):
        if saved:
            Path(path).write_bytes(b"as much as there was room for")
            raise SafetensorError("No space left on device")
        saved.append(path)
        save(tensors, path, **kw)

    with monkeypatch.context() as patch:
        patch.setattr(tensor_file, "save_file", full)
        with pytest.raises(errors.OutputError, match=r"No space left.*system\.outputs"):
            on_run("inversion.steps=1")
    assert not (outputs / "records.jsonl").exists()
    (folder,) = outputs.rglob("parts")
    assert len(list(folder.glob("*.safetensors*"))) == 1 and not list(folder.glob(".part*"))
    assert len(on_run("inversion.steps=1")) == 1
