"""Methods of features at a layer: kept, read back, refused by what works on codes."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import idinvert
from idinvert.checkpoints.tensor_file import read_tensors
from idinvert.errors import ConfigError, Note
from idinvert.evaluation.chunk_store import part_path
from idinvert.evaluation.codes_file import Codes, read_codes
from idinvert.evaluation.inversions import Inversions

METHOD = ("inversion=multi_code", "inversion.steps=2", "inversion.codes=2", "inversion.layer=2")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    for name in ("anna", "ben"):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=rng).to(torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{name}.png")
    return folder


def pictures(folder: Path) -> list[bytes]:
    return [Image.open(path).tobytes() for path in sorted(folder.glob("*_inverted.png"))]


def kept(folder: Path) -> Codes:
    made_by = read_tensors(folder / "codes.safetensors").metadata["generator"]
    return read_codes(folder, generator=made_by)


def test_pictures_of_a_file_with_features_are_those_of_the_inversion(
    on_run, outputs, photos, tmp_path
):
    out = tmp_path / "out"
    words = [*METHOD, "task=invert", f"images={photos}", f"task.out={out}"]
    on_run(*words)
    first = pictures(out / "images")
    known = kept(out)
    assert known.state is not None and known.state.layer == 2
    assert len(first) == 2 and known.state.features.shape == (2, 8, 8, 8)
    (parts,) = outputs.rglob("invert-*/parts")
    found = Inversions(parts, [(0, 2)], torch.device("cpu"), None)  # type: ignore[arg-type]
    assert part_path(parts, 0, 2).is_file()
    state = found.state(torch.tensor([1, 0]))
    assert state is not None
    assert torch.equal(state.features, known.state.features.flip(0))

    again = tmp_path / "again"
    on_run("task=invert", f"images={out / 'codes.safetensors'}", f"task.out={again}")
    assert [Image.open(again / f"{name}.png").tobytes() for name in ("anna", "ben")] == first
    assert kept(again).state is not None
    for task in ("interpolation", "mixing"):
        with pytest.raises(ConfigError, match=r"the method that wrote .*codes\.safetensors gives"):
            on_run(f"task={task}", f"images={out / 'codes.safetensors'}")


def test_a_call_that_was_stopped_goes_on_to_the_same_features(on_run, outputs, photos, tmp_path):
    for method in (METHOD, ("inversion=layers", "inversion.steps=2", "inversion.layer=2")):
        out = tmp_path / method[0]
        words = [*method, "task=invert", f"images={photos}", f"task.out={out}", "batch_size=1"]
        on_run(*words)
        whole = (out / "codes.safetensors").read_bytes()
        (parts,) = outputs.rglob(f"invert-*{method[0].partition('=')[2]}*/parts")
        first, second = sorted(parts.glob("part-*.safetensors"))
        written = first.stat().st_mtime_ns
        for path in (second, out / "codes.safetensors"):
            path.unlink()
        on_run(*words)
        assert (out / "codes.safetensors").read_bytes() == whole
        assert first.stat().st_mtime_ns == written


def test_tasks_on_codes_refuse_the_method_by_name(on_run, photos, tmp_path):
    told = r"task=\w+ .*works on codes, and inversion=multi_code gives .*: use inversion=in_domain"
    for task in ("interpolation", "mixing", "manipulation", "semantics"):
        with pytest.raises(ConfigError, match=told):
            on_run(*METHOD, f"task={task}")
        if task != "semantics":
            with pytest.raises(ConfigError, match=told):
                on_run(*METHOD, f"task={task}", f"images={photos}")
    for words in (
        ("task=control", "task.attribute=pose"),
        ("task=dissection", "task.source=inverted"),
    ):
        with pytest.raises(ConfigError, match=told):
            on_run(*METHOD, *words)
    with pytest.raises(ConfigError, match="takes inversion=diffusion, not inversion=multi_code"):
        on_run(*METHOD, "task=diffusion")
    with pytest.raises(ConfigError, match=r"reconstruction with metric\.names=code_distance"):
        on_run(*METHOD, "task=reconstruction", "metric.names=[mse,code_distance]")
    for layer, told in ((6, "leaves nothing.*mean 5"), (40, r"is 40\. Did you mean 5")):
        with pytest.raises(ConfigError, match=told):
            on_run(*METHOD, f"inversion.layer={layer}", "task=reconstruction")


def test_a_reconstruction_in_two_calls(go, world):
    """The same numbers a second time, from the parts; metrics of codes are left out with a line."""
    words = [*METHOD, f"run={world.run.name}", "task=reconstruction", "n=2"]
    with pytest.warns(Note, match="code_distance.*inversion=multi_code gives features at a layer"):
        (first,) = go(*words)
    (second,) = go(*words)
    assert first.metrics["mse"] == second.metrics["mse"]
    assert first.choices["inversion"]["codes"] == 2


def test_python_keeps_the_features_and_refuses_edits(world, photos):
    model = idinvert.open_model(world.run, *METHOD, f"system.cache={world.cache}", device="cpu")
    found = model.invert(photos)
    assert found.state is not None
    folder = photos.parent / "saved"
    found.save(folder)
    assert torch.equal(model.load(folder).images, found.images)
    for edit in (
        lambda: found.edit("anything", 1.0),
        lambda: found.interpolate(found),
        lambda: found.mix_styles(found),
    ):
        with pytest.raises(ConfigError, match="inversion=multi_code gives features"):
            edit()
