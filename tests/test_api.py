"""The Python interface: what a script does with networks, images and edits."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import idinvert
from idinvert.data.convert import to_float, to_uint8
from idinvert.editing.edits import interpolate, manipulate, mix_styles
from idinvert.errors import CheckpointError, ConfigError, CorruptImageError, DataError, Note
from idinvert.evaluation import inversion_module
from idinvert.evaluation.pictures import to_image
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.toy.faces import FACES

STEPS = 3


@pytest.fixture(scope="module")
def model():
    return idinvert.open_model("shipped:faces_mini", f"inversion.steps={STEPS}", device="cpu")


@pytest.fixture(scope="module")
def faces():
    """uint8 [3, 3, 32, 32]."""
    pixels, _ = FACES.render(FACES.sample_labels(torch.arange(3), seed=0), resolution=32)
    return pixels


@pytest.fixture(scope="module")
def inverted(model, faces):
    return model.invert(faces)


def test_the_package_is_imported_without_torch():
    code = "import idinvert, sys; dir(idinvert); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="open_modle"):
        idinvert.open_modle  # noqa: B018


def test_the_readme_shows_what_works(faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, face in zip(("anna.png", "ben.jpg"), faces, strict=False):
        Image.fromarray(face.permute(1, 2, 0).numpy()).resize((80, 80)).save(name)
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(block.replace('mini_64")', 'mini_64", "inversion.steps=2")'), {})
    assert sorted(path.name for path in tmp_path.joinpath("with_glasses").iterdir()) == [
        "anna_eyeglasses+3.png",
        "ben_eyeglasses+3.png",
        "codes.safetensors",
    ]


def test_inversion_is_that_of_the_method(model, faces, inverted):
    context: Any = model._context
    method = InDomainInverter(
        encoder=context.encoder, perceptual=context.perceptual, lambda_vgg=0.1, steps=STEPS
    )
    expected = method.invert(to_float(faces), generator=model.generator)
    assert torch.equal(inverted.codes, expected.codes)
    assert torch.equal(inverted.images, to_uint8(expected.images))


def test_every_kind_of_image_is_read_alike(model, faces, inverted, tmp_path):
    arrays = faces.permute(0, 2, 3, 1).numpy()
    files = [tmp_path / f"my face {k}.png" for k in range(3)]
    pictures = [Image.fromarray(array) for array in arrays]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    given: list[Any] = [arrays, pictures, files, tmp_path, [*faces], [files[0], arrays[1:]]]
    for images in given:
        found = model.invert(images)
        assert torch.equal(found.codes, inverted.codes)
    assert model.invert(tmp_path).names == ["my face 0", "my face 1", "my face 2"]
    assert model.invert(pictures[0]).names == ["00000"]


def test_edits_are_those_of_the_equations(model, inverted):
    w, glasses = inverted.codes, model.directions["eyeglasses"]
    first, last = model.synthesize(w[:1], names=["a"]), model.synthesize(w[2:], names=["b"])
    for images, codes, names in [
        (inverted.edit("eyeglasses", -2), manipulate(w, glasses, [-2.0])[:, 0], None),
        (first.edit(glasses, 0.5), manipulate(w[:1], glasses, [0.5])[:, 0], ["a_eyeglasses+0.5"]),
        (first.interpolate(last, 0.25), interpolate(w[:1], w[2:], [0.25])[:, 0], ["a"]),
        (first.mix_styles(last), mix_styles(w[:1], w[2:])[:, 0], ["a_b"]),
    ]:
        assert torch.equal(images.codes, codes)
        with torch.no_grad():
            assert torch.equal(images.images, to_uint8(model.generator.synthesis(codes)))
        assert names is None or images.names == names


def test_what_is_saved_is_loaded(model, inverted, tmp_path):
    files = inverted.save(tmp_path / "new")
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(np.asarray(Image.open(files[1])), np.asarray(inverted[1]))
    loaded = model.load(tmp_path / "new")
    assert loaded.names == inverted.names and torch.equal(loaded.images, inverted.images)

    towers = idinvert.open_model("shipped:towers_mini", device="cpu")
    with pytest.raises(CheckpointError, match="holds codes of generator"):
        towers.load(tmp_path / "new")
    (tmp_path / "new" / "codes.safetensors").write_bytes(b"no codes")
    for path in (tmp_path, tmp_path / "new"):
        with pytest.raises(CheckpointError, match="cannot read codes"):
            model.load(path)


def test_samples_follow_from_the_seed(model):
    first, again, other = (model.sample(2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images) and not torch.equal(first.codes, other.codes)
    mean = model.sample(1, truncation=0.0)
    assert torch.allclose(mean.codes[0], model.generator.w_avg, atol=1e-6)


def test_progress_counts_images(faces):
    seen: list[tuple[int, int]] = []
    small = idinvert.open_model(
        "shipped:faces_mini", "inversion=encoder", "batch_size=2", device="cpu"
    )
    small.invert(faces, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(2, 3), (3, 3)]


def test_a_gpu_may_be_filled(faces, monkeypatch):
    """With `batch_size=auto`; elsewhere it is the scale's number."""
    one = idinvert.open_model(
        "shipped:faces_mini", "inversion=encoder", "batch_size=auto", device="cpu"
    )
    seen: list[tuple[int, int]] = []
    one.invert(faces, progress=lambda *done: seen.append(done))
    peaks = iter([100, 200])
    memory = SimpleNamespace(free=lambda: 250, peak=lambda work: (work(), next(peaks))[1])
    monkeypatch.setattr(inversion_module, "memory_of", lambda device: memory)
    one.invert(faces, progress=lambda *done: seen.append(done))
    assert seen == [(3, 3), (2, 3), (3, 3)]


def test_a_checkpoint_without_an_encoder(model, faces):
    path = Path(idinvert.__file__).parent / "assets" / "faces_mini" / "generator.safetensors"
    alone = idinvert.open_model(path, "inversion=free", "inversion.steps=2", device="cpu")
    assert len(alone.invert(faces)) == 3
    with pytest.raises(ConfigError, match="takes an encoder"):
        idinvert.open_model(path, device="cpu").invert(faces)
    encoder = path.with_name("encoder.safetensors")
    both = idinvert.open_model(path, "inversion=encoder", encoder=encoder, device="cpu")
    assert torch.equal(
        both.invert(faces).codes,
        idinvert.open_model("shipped:faces_mini", "inversion=encoder", device="cpu")
        .invert(faces)
        .codes,
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        (3, "cannot invert a int"),
        (np.zeros((32, 32, 3)), "cannot invert a ndarray float64"),
        (np.zeros((32, 32), np.uint8), r"uint8 of shape \[32, 32\]"),
        (np.zeros((8, 8, 3), np.uint8), "8x8 pixels"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_what_is_no_image_is_refused(model, images, message):
    with pytest.raises(DataError, match=message):
        model.invert(images)


def test_files_that_cannot_be_used_are_left_out_if_asked(model, faces, tmp_path):
    for place, face in enumerate(faces):
        to_image(face).save(tmp_path / f"{place}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    with pytest.raises(CorruptImageError, match="in Python `on_corrupt='skip'`"):
        model.invert(tmp_path)
    with pytest.warns(Note, match="left out 1 damaged file and 1 small file"):
        found = model.invert(tmp_path, on_corrupt="skip")
    assert found.names == ["0", "2"]
    with pytest.raises(ConfigError, match="expected error or skip"):
        model.invert(tmp_path, on_corrupt="ignore")


def test_mistakes_are_named(model, inverted):
    with pytest.raises(ConfigError, match="Did you mean 'eyeglasses'"):
        inverted.edit("eyeglases", 3)
    with pytest.raises(ConfigError, match=r"inversion\.stps"):
        idinvert.open_model("shipped:faces_mini", "inversion.stps=3")
    with pytest.raises(CheckpointError, match=r"source=shipped:face_mini:.*'shipped:faces_mini'"):
        idinvert.open_model("shipped:face_mini")
    with pytest.raises(ConfigError, match="nothing_here"):
        idinvert.open_model("nothing_here")
    with pytest.raises(ConfigError, match="expected \\[N, "):
        model.synthesize(torch.zeros(1, 2, 3))
    outside = model.synthesize(inverted.codes[:1], names=["../face"])
    with pytest.raises(DataError, match="leads out of"):
        outside.save("anywhere")
    double = model.synthesize(inverted.codes[:2], names=["a", "a"])
    with pytest.raises(DataError, match="several images are called 'a'"):
        double.save("anywhere")
