"""Restoration from the command line: every observation by every method, own files, bad input."""

import csv
import re

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.restoration import inpaint_biharmonic

from idinvert.config.compose import compose_plain
from idinvert.data.convert import to_float
from idinvert.editing.masks import crop_mask
from idinvert.errors import ConfigError, DataError
from idinvert.evaluation.codes_file import read_codes
from idinvert.evaluation.networks import open_data
from idinvert.metrics.paired import psnr
from tests.integration.evaluate.conftest import TINY

METHODS = {
    "encoder": "inversion=encoder",
    "in_domain": "inversion=in_domain inversion.steps=2",
    "image2stylegan": "inversion=image2stylegan inversion.steps=2",
    "free": "inversion=free inversion.steps=2",
    "multi_code": "inversion=multi_code inversion.steps=2 inversion.codes=2",
}
PLAIN = {
    "colourisation": ["grey"],
    "super_resolution": ["bicubic", "least_variation"],
    "inpainting": ["biharmonic", "least_variation"],
    "compressive": ["pseudo_inverse", "least_variation"],
}
ENTRIES = ",".join(f"{{label: {name}, words: '{words}'}}" for name, words in METHODS.items())


@pytest.fixture
def restore(on_run):
    return lambda *words: on_run("task=restoration", "n=3", *words)


@pytest.mark.parametrize("observe", PLAIN)
def test_every_observation_by_every_method(restore, outputs, observe, capsys):
    more = ["metric.names=[psnr,attributes]"] if observe == "inpainting" else []
    records = restore(f"observe={observe}", f"task.methods=[{ENTRIES}]", "task.shown=2", *more)
    names = [record.choices["inversion"]["name"] for record in records]
    assert names == [*METHODS, *PLAIN[observe]]
    for record in records:
        assert record.task == "restoration" and record.n == 3
        assert record.choices["task"]["observe"] == observe
        assert {"mse", "psnr", "ssim"} <= record.metrics.keys()
        assert ("agreement" in record.metrics) == bool(more)
        by_method = record.choices["inversion"]["name"] in METHODS
        assert ("kept_psnr" in record.metrics) == ("observed_mse" in record.metrics) == by_method
        assert ("kept_agreement" in record.metrics) == (by_method and bool(more))
    folders = [path.parent for path in outputs.rglob("kept.png")]
    assert len(folders) == 1 and (folders[0] / "pictures.pdf").is_file()
    said = capsys.readouterr().out
    assert re.search(r"multi_code +[\d.-]+ +[\d.-]+ +[\d.-]+ +[\d.-]+$", said, re.MULTILINE)
    assert len(list(outputs.rglob("per_image.csv"))) == len(METHODS)
    parts = sorted(outputs.rglob("part-*.safetensors"))
    before = [path.stat().st_mtime_ns for path in parts]
    again = restore(f"observe={observe}", f"task.methods=[{ENTRIES}]", "task.shown=2", *more)
    assert [path.stat().st_mtime_ns for path in parts] == before, "nothing is made twice"
    assert [one.metrics for one in again] == [one.metrics for one in records]


def test_what_needs_no_generator_is_measured_as_by_hand(restore, world):
    """Bicubic of torch, biharmonic of scikit-image, and the grey image, on the same images."""
    found = {}
    for observe in ("super_resolution", "inpainting", "colourisation"):
        records = restore(f"observe={observe}", "inversion=encoder")
        found[observe] = records[1].metrics["psnr"]
        config = records[1].data
    words = [word for word in TINY if word.startswith(("data.", "scale."))]
    words.append(f"system.cache={world.cache}")
    data = open_data(compose_plain("evaluate", words)["data"])
    assert data.fingerprint == config["fingerprint"]
    bytes_ = torch.stack([data.test[i]["image"] for i in range(3)])
    x = to_float(bytes_)

    def measured(images):
        rounded = to_float((images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8))
        return pytest.approx(psnr(rounded, x).mean().item(), abs=1e-3)

    small = x.unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean((3, 5))
    bicubic = torch.nn.functional.interpolate(small, size=16, mode="bicubic", align_corners=False)
    assert found["super_resolution"] == measured(bicubic)
    grey = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None].expand(-1, 3, -1, -1)
    assert found["colourisation"] == measured(grey)
    hole = crop_mask(16)[0].numpy() > 0
    known = x * torch.from_numpy(~hole)
    filled = [
        inpaint_biharmonic(one.permute(1, 2, 0).double().numpy(), hole, channel_axis=-1)
        for one in known
    ]
    assert found["inpainting"] == measured(torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2))


@pytest.fixture
def pictures(tmp_path):
    """A maker of folders of pictures of a size."""

    def make(*sizes, name="own", grey=False):
        rng = np.random.default_rng(0)
        (tmp_path / name).mkdir()
        for k, (width, height) in enumerate(sizes):
            pixels = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
            image = Image.fromarray(pixels)
            (image.convert("L") if grey else image).save(tmp_path / name / f"p{k}.png")
        return tmp_path / name

    return make


@pytest.fixture
def mask(tmp_path):
    """A maker of masks of a size, with a hole, or all of one colour."""

    def make(width, height, colour=None):
        pixels = np.full((height, width), colour or 0, dtype=np.uint8)
        if colour is None:
            pixels[height // 4 : height // 2, width // 4 : width // 2] = 255
        path = tmp_path / f"mask-{width}-{colour}.png"
        Image.fromarray(pixels).save(path)
        return path

    return make


def test_own_pictures_are_the_observations(on_run, outputs, pictures, mask, tmp_path):
    own = {
        "super_resolution": ([pictures((4, 4), (6, 4), name="low")], "bicubic"),
        "colourisation": ([pictures((16, 16), name="grey", grey=True)], "grey"),
        "inpainting": (
            [pictures((32, 32), name="hole"), f"observe.mask={mask(32, 32)}"],
            "biharmonic",
        ),
        "compressive": ([pictures((16, 20), name="any")], "pseudo_inverse"),
    }
    for observe, ((images, *words), plain) in own.items():
        out = tmp_path / f"out-{observe}"
        (record,) = on_run(
            "task=restoration", f"observe={observe}", f"images={images}", "inversion.steps=1",
            f"task.out={out}", *words,
        )  # fmt: skip
        assert set(record.metrics) == {"observed_mse"} and record.choices["task"]["images"] == "own"
        stems = {f"p{k}_{what}.png" for k in range(record.n)
                 for what in ("observed", plain, "restored", "restored_kept")}  # fmt: skip
        assert stems | {"pictures.png"} == {path.name for path in out.glob("*.png")}
        assert (out / "index.html").is_file()
        made_for = record.checkpoints["generator"]
        names = read_codes(out / "codes.safetensors", generator=made_for).names
        assert names == [f"p{k}_restored" for k in range(record.n)]
        with (out / "edits.csv").open(encoding="utf-8") as file:
            assert {row["file"] for row in csv.DictReader(file)} == stems

    def read(name):
        with Image.open(tmp_path / name) as picture:
            return np.asarray(picture.convert("RGB")).astype(float)

    low, kept = read("low/p0.png"), read("out-super_resolution/p0_restored_kept.png")
    assert read("out-super_resolution/p0_observed.png").shape == (16, 16, 3)
    inside = (kept > 2).all() and (kept < 253).all()
    means = kept.reshape(4, 4, 4, 4, 3).mean((1, 3))
    assert not inside or np.abs(means - low).max() < 1, "the area means are those of the file"
    observed = read("out-inpainting/p0_observed.png")
    kept = read("out-inpainting/p0_restored_kept.png")
    assert (observed[4:8, 4:8] == 128).all(), "the hole of the mask, which is cut as pictures are"
    known = np.ones((16, 16), bool)
    known[4:8, 4:8] = False
    assert np.abs(kept - observed)[known].max() <= 1


def test_bad_input(restore, on_run, pictures, mask, world, tmp_path):
    """One line each, before anything is inverted."""
    low, mixed = pictures((3, 3), name="three"), pictures((4, 4), (8, 8), name="mixed")
    large = pictures((16, 40), name="large")
    own = [
        ("observe=super_resolution", f"images={low}",
         r"p0.png has 3x3 pixels: observe=super_resolution takes low-resolution pictures, 2 px on "
         r"the shorter side \(known: 1, 2, 4, 8\)"),
        ("observe=super_resolution", f"images={large}",
         r"p0.png has 16x40 pixels, not less than the 16 px of the generator: "),
        ("observe=super_resolution", f"images={mixed}", "4 px on the shorter side and p1.png 8"),
        ("observe=super_resolution observe.factor=2", f"images={low}", "pictures, 8 px on the"),
        ("observe=inpainting", f"images={large} observe.mask={mask(8, 8)}",
         r"has 8x8 pixels: expected 16x16, the generator's size or 16x40, that of the pictures"),
        ("observe=inpainting", f"images={large}", "own pictures need observe.mask=FILE"),
        ("observe=colourisation", f"images={large} task.methods=[{{label: a, words: ''}}]",
         "task.methods compares methods on data="),
    ]  # fmt: skip
    for first, second, message in own:
        words = [*first.split(), *re.split(r" (?=\w+\.\w+=)", second)]
        with pytest.raises(ConfigError, match=message):
            on_run("task=restoration", *words)
    for words, message in (
        ("observe=super_resolution observe.factor=3",
         r"observe.factor=3 does not divide the 16 px of the generator: did you mean 2\? "
         r"Known: 2, 4, 8, 16"),
        (f"observe=inpainting observe.mask={mask(16, 16, 0)}", "black all over.*filled in"),
        (f"observe=inpainting observe.mask={mask(16, 16, 255)}", "white all over.*be known"),
        (f"observe=inpainting observe.mask={mask(20, 20)}", "has 20x20 pixels: expected 16x16"),
        (f"observe=inpainting observe.mask={mask(16, 16)} observe.size=3", "the one or the other"),
        ("observe=inpainting observe.size=16", r"change observe\.size, observe\.centre"),
        ("observe=compressive observe.ratio=0", r"observe\.ratio=0"),
        ("observe=compressive observe.ratio=1.5", r"observe\.ratio=1\.5"),
        ("observe=compressive inversion=projector", "inversion=projector compares whole images"),
        ("observe=compressive inversion=diffusion", "inversion=diffusion compares whole images"),
        ("observe=colorization", "Here it is observe=colourisation"),
        ("observe=superresolution", "Did you mean 'super_resolution'"),
        ("task.shown=1", "task=restoration needs observe=colourisation, compressive"),
        ("observe=colourisation task=reconstruction", "is of task=restoration"),
        ("observe.factor=2", "observe.factor"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            restore(*words.split())
    with pytest.raises(DataError, match=r"observe\.mask=nowhere\.png cannot be read"):
        restore("observe=inpainting", "observe.mask=nowhere.png")
    assert not list(tmp_path.rglob("part-*"))
