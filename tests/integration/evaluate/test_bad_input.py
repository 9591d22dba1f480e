"""Bad input: the message names what was got and the key to change; nothing is left behind."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from safetensors import SafetensorError

from idinvert.checkpoints import tensor_file
from idinvert.checkpoints.release import load_network, save_network
from idinvert.config.run_folder import locked
from idinvert.errors import (
    CheckpointError,
    ConfigError,
    CorruptImageError,
    DataError,
    IdinvertError,
    OutputError,
    RunLockedError,
)
from idinvert.networks.attributes import AttributeNetwork
from idinvert.results.record import Record

Go = Callable[..., list[Record]]


@pytest.fixture
def invert(on_run: Go) -> Callable[..., list[Record]]:
    return lambda *words: on_run("task=invert", "inversion=encoder", *words)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (20, 20), (200, 40, 40)).save(folder / "a.png")
    return folder


def test_images_must_be_given(invert: Go) -> None:
    with pytest.raises(ConfigError, match="images=FOLDER"):
        invert()


@pytest.mark.parametrize("task", ["reconstruction", "out_of_domain", "gallery", "initial"])
def test_images_are_refused_where_they_are_not_read(on_run: Go, photo: Path, task: str) -> None:
    with pytest.raises(ConfigError, match="does not read images="):
        on_run(f"task={task}", f"images={photo}")


@pytest.mark.parametrize("name", ["no such folder", "no such file.png", "none.zip"])
def test_images_that_are_not_there(invert: Go, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.*`images`"):
        invert(f"images={tmp_path / name}")


def test_a_folder_without_images(invert: Go, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "letter.txt").write_text("Dear")
    with pytest.raises(DataError, match=r"papers holds no image .*\.png.*`images`"):
        invert(f"images={tmp_path / 'papers'}")


def test_a_file_of_another_kind(invert: Go, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(DataError, match=r"letter\.txt, expected a folder.*`images`"):
        invert(f"images={tmp_path / 'letter.txt'}")


def test_a_zip_that_is_none(invert: Go, tmp_path: Path) -> None:
    (tmp_path / "sent.zip").write_bytes(b"PK but not really")
    with pytest.raises(DataError, match=r"sent\.zip.*`images`"):
        invert(f"images={tmp_path / 'sent.zip'}")


def test_a_folder_that_may_not_be_read(
    invert: Go, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def refused(path):  # as anyone but the superuser would be, whom nothing stops
        if Path(path) == photo:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match=r"cannot read .*photos.*Permission.*`images`"):
        invert(f"images={photo}")


def test_an_image_without_content(invert: Go, photo: Path) -> None:
    (photo / "empty.jpg").write_bytes(b"")
    with pytest.raises(CorruptImageError, match=r"empty\.jpg.*task\.on_corrupt=skip"):
        invert(f"images={photo}")


def test_nothing_but_corrupt_images(invert: Go, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with (
        pytest.warns(UserWarning, match="left out 1 damaged"),
        pytest.raises(DataError, match=r"every image of .*bad\.jpg is damaged.*`images`"),
    ):
        invert(f"images={tmp_path / 'bad.jpg'}", "task.on_corrupt=skip")


def test_a_wrong_word_for_corrupt_images(invert: Go, photo: Path) -> None:
    with pytest.raises(ConfigError, match=r"'ignore'.*task\.on_corrupt"):
        invert(f"images={photo}", "task.on_corrupt=ignore")


def test_images_smaller_than_the_generators(invert: Go, photo: Path) -> None:
    Image.new("RGB", (300, 12)).save(photo / "small.png")
    with pytest.raises(DataError, match=r"small\.png.*300x12.*at least 16.*task\.allow_upscale"):
        invert(f"images={photo}")
    assert invert(f"images={photo}", "task.allow_upscale=true")[0].n == 2


def test_names_in_a_zip_reach_no_other_folder(invert: Go, photo: Path, outputs: Path) -> None:
    archive = photo.parent / "sent.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("/climbing/out.png", "../../climbing.png", "inside/..climbing/in.png"):
            file.write(photo / "a.png", name)
    (record,) = invert(f"images={archive}")
    assert record.n == 1, "names with dots in front are hidden files"
    found = [path for path in outputs.parent.rglob("*climbing*") if path.is_file()]
    assert found and all(path.is_relative_to(outputs) for path in found)


@pytest.fixture
def encoder_file(outputs: Path, world: SimpleNamespace) -> Path:
    return outputs / "domain_guided" / world.run.name / "weights" / "encoder.safetensors"


def test_weights_that_were_cut_off(on_run: Go, encoder_file: Path) -> None:
    encoder_file.write_bytes(encoder_file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors.*truncated.*encoder\.path"):
        on_run()


def test_weights_of_another_role(on_run: Go, world: SimpleNamespace) -> None:
    file = world.gan / "weights" / "discriminator.safetensors"
    with pytest.raises(CheckpointError, match=r"'discriminator'.*'encoder'.*encoder\.path"):
        on_run(f"encoder.path={file}")


def test_weights_of_another_resolution(on_run: Go, world: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "attributes.safetensors"
    network = AttributeNetwork(resolution=32, kinds=["continuous"], names=["pose"], width=8)
    save_network(network, path, provenance={})
    with pytest.raises(IdinvertError, match=r"\(16, 16\).*32x32"):
        on_run("inversion.steps=1", f"perceptual.network.path={path}")


def test_an_encoder_in_another_outfit_is_read_all_the_same(
    on_run: Go, encoder_file: Path, world: SimpleNamespace
) -> None:
    """Without provenance (a file of one's own making) it goes by its content hash."""
    save_network(load_network(encoder_file, key="path"), encoder_file, provenance={})
    (record,) = on_run("inversion=encoder")
    assert record.run == record.checkpoints["encoder"] and record.nimg == 0


def test_two_processes_in_one_evaluation(on_run: Go, outputs: Path, world: SimpleNamespace) -> None:
    on_run("inversion=encoder")
    (folder,) = (outputs / "evaluations" / world.run.name).iterdir()
    with locked(folder), pytest.raises(RunLockedError, match="in use by process"):
        on_run("inversion=encoder")
    assert len(on_run("inversion=encoder")) == 1


def test_a_full_disk_loses_nothing_that_was_done(
    on_run: Go, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = tensor_file.save_file, []

    def full(tensors, path, **kw):
        if saved:
            Path(path).write_bytes(b"as much as there was room for")
            raise SafetensorError("No space left on device")
        saved.append(path)
        save(tensors, path, **kw)

    with monkeypatch.context() as patch:
        patch.setattr(tensor_file, "save_file", full)
        with pytest.raises(OutputError, match=r"No space left.*system\.outputs"):
            on_run("inversion.steps=1")
    assert not (outputs / "records.jsonl").exists()
    (folder,) = outputs.rglob("parts")
    assert len(list(folder.glob("*.safetensors*"))) == 1 and not list(folder.glob(".part*"))
    assert len(on_run("inversion.steps=1")) == 1
