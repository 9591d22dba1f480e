"""One's own pictures edited: files under their names, films, a page, codes that are read back."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from idinvert.data.folder import read_images
from idinvert.data.formats import LONGEST, safe, stems_of
from idinvert.editing.diffusion import DiffusionInverter
from idinvert.errors import CheckpointError, ConfigError, DataError
from idinvert.evaluation.chunk_store import read_tensor
from idinvert.evaluation.codes_file import read_codes
from idinvert.evaluation.diffusion import diffuse
from idinvert.evaluation.interpolation import interpolate
from idinvert.evaluation.invert import invert
from idinvert.evaluation.manipulation import manipulate
from idinvert.evaluation.mixing import mix
from idinvert.evaluation.own_edits import Row
from idinvert.evaluation.own_images import open_own, own_folder
from idinvert.evaluation.pictures import label_of
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.optimize_codes import InDomainInverter
from tests.evaluation.conftest import only

NAMES = ["anna.png", "a&b [1].png", "写真 (2).jpg"]


@pytest.fixture
def photos(tmp_path):
    """Three pictures with ordinary names of several countries."""
    folder = tmp_path / "My Photos (1)"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randint(0, 256, (40, 30, 3), generator=rng).to(torch.uint8)
        Image.fromarray(noise.numpy()).save(folder / name)
    return folder


class Counting:
    """Counts the images that it inverts."""

    count = 0

    def invert(self, images, **kw):
        self.count += len(images)
        return super().invert(images, **kw)


class Once(Counting, EncoderInverter):
    pass


class Descends(Counting, InDomainInverter):
    pass


@pytest.fixture
def context(subject, networks, directions, photos):
    def make(inverter=None, **changes):
        inverter = inverter or EncoderInverter(encoder=networks.encoder)
        return subject(inverter, **{"images": str(photos), "n": None, **changes})

    return make


def stems(folder):
    return {path.stem for path in folder.iterdir() if path.suffix in (".png", ".gif", ".webp")}


def test_each_picture_and_edit_has_a_file_a_film_a_place_on_the_page_and_a_code(
    context, directions, networks, tmp_path, capsys
):
    inverter, out = Once(encoder=networks.encoder), tmp_path / "edited"
    one = context(inverter, directions=directions)
    record = only(manipulate(one, steps=[-3, 0.5], video="gif", out=str(out)))
    edits = {
        f"{name}_{way}{step}"
        for name in ("anna", "a&b [1]", "写真 (2)")
        for way in ("glasses", "light")
        for step in ("-3", "+0.5")
    }
    made = stems(out)
    assert edits < made and {"anna_input", "写真 (2)_inverted", "anna_light"} < made
    with Image.open(out / "anna_glasses.gif") as film:
        assert film.n_frames == 46 and film.size == (256, 256)
    codes = read_codes(out, generator="12")
    assert set(codes.names) == edits and codes.codes.shape == (12, 6, 8)
    place = codes.names.index("anna_glasses-3")
    shown = networks.generator.synthesis(codes.codes[place][None])[0]
    pixels = (shown.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    with Image.open(out / "anna_glasses-3.png") as picture:
        found = torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(16, 16, 3)
    assert (found.int() - pixels.permute(1, 2, 0).int()).abs().max() <= 1
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 18 and page.count("data:image/gif") == 6
    assert "a&amp;b [1].png" in page and (out / "pictures.pdf").is_file()
    assert "not computed" in record.choices["task"]["metrics"]
    assert set(record.metrics) == {"mse", "psnr", "ssim"}, "of the inversions alone"
    told = capsys.readouterr().out
    assert "no metrics of the edits: " in told and "index.html" in told
    # The other tasks take the same inversions, and the codes need none.
    only(invert(one))
    only(interpolate(one))
    only(mix(one))
    assert inverter.count == 3
    again = context(inverter, directions=directions, images=str(out))
    only(manipulate(again, steps=[1], out=str(tmp_path / "more")))
    assert inverter.count == 3 and "anna_glasses-3_light+1" in stems(tmp_path / "more")


def test_a_film_as_mp4(context, directions, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "edited"
    manipulate(context(directions=directions), steps=[1], video="mp4", out=str(out))
    interpolate(context(), steps=1, video="mp4", out=str(out / "between"))
    for file in (out / "anna_light.mp4", out / "between" / "anna_to_写真 (2).mp4"):
        frames = ffmpeg.read_frames(str(file))
        facts = next(frames)
        assert facts["size"] == (256, 256) and facts["fps"] == 12.5 and len(list(frames)) == 46
    assert (out / "index.html").read_text().count("<video src=") == 6
    assert not [
        path.name for path in out.iterdir() if path.name.count(".") > 1 or "tmp" in path.name
    ]


def test_pictures_in_a_list_or_by_a_pattern(context, directions, photos, tmp_path):
    def read(images):
        return read_images(str(images), resolution=16)

    listed = f"[{photos / NAMES[2]},{photos / NAMES[0]}]"
    assert read(listed).names == [NAMES[2], NAMES[0]], "in the order of the list"
    assert read(str(photos).replace("(", "[(]") + "/*.png").names == ["a&b [1].png", "anna.png"]
    only(invert(context(images=listed), out=str(tmp_path / "one")))
    page = (tmp_path / "one" / "index.html").read_text()
    assert page.index(NAMES[2]) < page.index(NAMES[0]) and "a&amp;b" not in page
    for images, words in (
        (
            f"[{photos / 'anna.png'},{photos / 'ana.png'}]",
            "no such file: .*ana.png; change `images`",
        ),
        (f"[{photos}]", "expected a file of PNG, .*My Photos"),
        (photos.parent / "*.tiff", r"no file matches .*\*\.tiff; change `images`"),
    ):
        with pytest.raises(DataError, match=words):
            read(images)


def test_rows_of_the_sheet_are_named():
    assert label_of("anna (1).png") == "anna (1).png"
    assert label_of("写真$a$.png") == r"□□\$a\$.png"
    assert len(label_of("a" * 60 + ".png")) == 28
    pair = Row(names=["2024/anna.png", "ben & co/" + "b" * 60 + ".png"], joint="to", edits=[])
    first, second = pair.label.splitlines()
    assert first == "anna.png" and second.startswith("to bbb") and second.endswith("bbb.png")
    assert pair.name == f"{pair.names[0]} to {pair.names[1]}", "whole on the page"


def test_a_renamed_picture_leaves_no_edits_of_its_old_name(context, directions, photos, tmp_path):
    out = tmp_path / "edited"

    def run():
        manipulate(context(directions=directions), steps=[1], out=str(out))

    run()
    (out / "mine.png").write_bytes(b"not ours")
    (photos / "anna.png").rename(photos / "berta.png")
    run()
    assert not [name for name in stems(out) if name.startswith("anna")]
    assert {"mine", "berta_light+1"} < stems(out)


def test_pairs_are_each_with_the_next_or_those_that_are_named(context, tmp_path):
    out = tmp_path / "between"
    only(interpolate(context(), steps=1, video="webp", out=str(out)))
    assert {"a&b [1]_to_anna_0.5", "anna_to_写真 (2)_0.5", "anna_to_写真 (2)"} < stems(out)
    out = tmp_path / "named"
    only(interpolate(context(), steps=1, pairs=[["写真 (2).jpg", "Anna"]], out=str(out)))
    assert len([name for name in stems(out) if "_to_" in name]) == 1
    only(mix(context(), out=str(tmp_path / "mixed")))
    assert "写真 (2)_style_a&b [1]" in stems(tmp_path / "mixed"), "the last with the first"
    with pytest.raises(ConfigError, match=r"no picture ana.*anna"):
        interpolate(context(), pairs=[["ana", "anna"]])
    with pytest.raises(ConfigError, match="expected pairs"):
        mix(context(), pairs=["anna"])


def test_diffusion_of_pictures_and_not_of_codes(context, networks, tmp_path):
    inverter = DiffusionInverter(encoder=networks.encoder, perceptual=None, lambda_vgg=0.0, steps=1)
    out = tmp_path / "diffused"
    only(diffuse(context(inverter), out=str(out), images=[]))
    assert {"anna_in_写真 (2)", "anna_input"} < stems(out)
    with pytest.raises(ConfigError, match="the pictures themselves"):
        diffuse(context(inverter, images=str(out)))


def test_codes_are_shown_again_and_those_of_another_generator_refused(context, tmp_path):
    out = tmp_path / "out"
    invert(context(), out=str(out))
    file = out / "codes.safetensors"
    only(invert(context(images=str(file)), out=str(tmp_path / "again")))
    assert {"anna", "写真 (2)"} < stems(tmp_path / "again")
    with pytest.raises(CheckpointError, match=r"generator 12, but this one is 13"):
        mix(context(images=str(file), checkpoints={"generator": "13"}))
    with pytest.raises(CheckpointError, match=r"expected a codes\.safetensors"):
        mix(context(images=str(tmp_path / "absent.safetensors")))


def test_mistakes_are_refused_before_any_work(context, directions, photos, monkeypatch):
    one = context(directions=directions)
    with pytest.raises(ConfigError, match=r"video=avi: expected gif, webp, mp4"):
        manipulate(one, video="avi")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'idinvert\[video\]'"):
        interpolate(one, video="mp4")
    with pytest.raises(ConfigError, match=r"task.out=.* is the folder of images="):
        invert(one, out=str(photos))
    for name in NAMES[1:]:
        (photos / name).unlink()
    with pytest.raises(DataError, match="images= has 1: add one"):
        interpolate(one)


def test_a_folder_is_read_without_the_results_below_it(context, photos):
    outputs = photos / "outputs"
    system = {"outputs": str(outputs), "num_workers": 0}
    for _ in range(2):
        assert only(invert(context(system=system))).n == 3
    only(mix(context(system=system), out=str(photos / "mixed")))
    assert only(invert(context(system=system))).n == 3
    (photos / "mixed" / "codes.safetensors").unlink()
    assert len(read_images(photos, resolution=16, without=[outputs]).names) > 3


def test_stems_are_legal_short_recognisable_and_apart():
    assert stems_of(["写真 (2).jpg", "Büro.PNG", "anna_to_ben_0.33", "x.tar.png"]) == [
        "写真 (2)", "Büro", "anna_to_ben_0.33", "x.tar",
    ]  # fmt: skip
    assert stems_of(["a.png", "sub/A.png", "b.png", "b.jpg"]) == ["a", "sub_A", "b_png", "b_jpg"]
    odd = ["con.png", 'a<b>:"|?*.png', "../..", "/", "x\ud800.png", " . ", "é" * 300, "é" * 300]
    found = stems_of(odd)
    assert len({stem.casefold() for stem in found}) == len(odd)
    for stem in found:
        assert stem == safe(stem, longest=LONGEST + 4) and len(stem.encode()) <= LONGEST + 4
        assert Path(stem).name == stem
    assert found[:2] == ["con_", "a_b______"] and not set(found[1]) & set('<>:"|?*')


def test_the_table_of_edits_lists_every_file(context, tmp_path):
    out = tmp_path / "mixed"
    mix(context(), out=str(out))
    with (out / "edits.csv").open(encoding="utf-8", newline="") as file:
        listed = {Path(row["file"]).stem for row in csv.DictReader(file)}
    assert listed == stems(out) - {"pictures"}


def test_a_picture_more_or_less_is_all_that_is_inverted(
    context, in_domain, networks, photos, tmp_path, capsys
):
    """First, last and in between; what is there comes over bit by bit, and what is damaged not."""

    def inverted(inverter, out=None, **changes):
        count, one = inverter.count, context(inverter, **{"batch_size": 2, **changes})
        only(invert(one, out=str(out) if out else None))
        parts = own_folder(open_own(one, None, "skip", False, None)[0])
        folder = out or parts
        with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
            curves = [row for row in csv.DictReader(file) if row.pop("index")]
        found = read_codes(folder, generator="12")
        pixels = torch.cat([read_tensor(p, "images") for p in sorted(parts.glob("parts/*.s*"))])
        return inverter.count - count, {
            name: (code, shown, [row for row in curves if row["name"] == name])
            for name, code, shown in zip(found.names, found.codes, pixels, strict=True)
        }

    def same(some, others):
        return all(
            torch.equal(some[name][0], code)
            and torch.equal(some[name][1], shown)
            and some[name][2] == curve
            for name, (code, shown, curve) in others.items()
        )

    def add(name, shade):
        Image.new("RGB", (20, 20), (40 * shade, 90, 200)).save(photos / name)

    inverter, drawing = in_domain(Descends, noise="const"), in_domain(Descends, noise="random")
    count, first = inverted(inverter)
    assert count == 3 and "before" not in capsys.readouterr().out
    assert inverted(drawing)[0] == 3, "another method"
    for there, name in enumerate(("b.png", "Zoe.png", "写真.png"), start=3):
        add(name, there)
        count, found = inverted(inverter)
        assert count == 1 and same(found, first)
        told = capsys.readouterr().out
        assert f"inverted before: {there} of {there + 1} pictures" in told
        first = found
    # A fresh inversion differs by the rounding of other batches, and not at all one by one.
    _, fresh = inverted(inverter, tmp_path / "fresh", recompute=True)
    for name, (codes, _, _) in fresh.items():
        torch.testing.assert_close(first[name][0], codes, rtol=1e-2, atol=1e-3)
    one = Once(encoder=networks.encoder)
    inverted(one, batch_size=1, images=str(photos / "anna.png"))
    count, found = inverted(one, batch_size=1)
    assert count == 5
    assert same(found, inverted(one, tmp_path / "alone", batch_size=1, recompute=True)[1])
    # Where something is drawn by the place among the files, pictures that have another are others.
    assert inverted(drawing)[0] == 6, "Zoe.png is the first"
    add("zz.png", 7)
    assert inverted(drawing)[0] == 3, "zz.png and two behind it"
    (photos / "b.png").unlink()
    assert inverted(inverter)[0] == 1, "zz.png; b.png is gone"
    for path in context().run_folder.glob("invert-*/parts/*.safetensors"):
        path.write_bytes(b"damaged")
    (photos / "Zoe.png").unlink()
    assert inverted(inverter)[0] == 5
