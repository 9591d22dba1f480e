"""One's own images: odd files in; codes, pictures, tables and a page out."""

import base64
import html.parser
import io
import json
import re

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from idinvert.evaluation.invert import file_stem, invert
from idinvert.evaluation.pictures import Entry, write_contact_sheet
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.optimize_codes import FreeInverter
from tests.evaluation.conftest import only, read


@pytest.fixture
def folder(tmp_path):
    """Grey, palette, alpha, tall, in a subfolder, of one stem, and with a name that is HTML."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    noise = torch.randint(0, 256, (40, 30, 3), generator=torch.Generator().manual_seed(0))
    rgb = Image.fromarray(noise.to(torch.uint8).numpy())
    rgb.convert("L").save(root / "grey.png")
    rgb.convert("P").save(root / "palette.png")
    rgb.convert("RGBA").save(root / "sub" / "grey.png")
    rgb.resize((20, 90)).save(root / "tall.jpg")
    rgb.save(root / "grey.jpg")
    rgb.save(root / "<b>&'é.png")
    return root


@pytest.fixture
def go(subject, folder, tmp_path):
    def run(inverter, **changes):
        choices = {"images": str(folder), "n": None} | changes
        return only(invert(subject(inverter, **choices), out=str(tmp_path / "out")))

    return run


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_everything_comes_out(go, in_domain, tmp_path):
    record = go(in_domain(steps=2, noise="const"))
    out = tmp_path / "out"
    assert record.n == 6 and record.task == "invert" and record.metrics["mse"] > 0
    with safe_open(out / "codes.safetensors", framework="pt") as file:
        codes, facts = file.get_tensor("codes"), file.metadata()
    assert codes.shape == (6, 6, 8) and facts["generator"] == "12"
    names = json.loads(facts["names"])
    assert sorted(names) == sorted(
        ["grey.png", "palette.png", "sub/grey.png", "tall.jpg", "grey.jpg", "<b>&'é.png"]
    )
    files = sorted(path.name for path in (out / "images").iterdir())
    assert len(files) == 18 and all(re.fullmatch(r"[\w &'-]+\.png", name) for name in files)
    assert all(Image.open(out / "images" / name).size == (16, 16) for name in files)
    rows = read(out / "losses.csv")
    assert len(rows) == 6 * 3 and {row["name"] for row in rows} == set(names)
    for row in rows:
        parts = sum(float(row[term]) for term in ("pixel", "perceptual", "domain"))
        assert parts == pytest.approx(float(row["total"]), rel=1e-4)
    assert len((out / "per_image.csv").read_text().splitlines()) == 7
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert "b" not in page.tags and "<b>&'é.png" in page.text, "names are escaped"
    assert len(page.sources) == 18, "no other file is needed"
    for source in page.sources:
        head, data = source.split(",", 1)
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)


def test_an_encoder_has_no_third_picture(go, networks, tmp_path):
    go(EncoderInverter(encoder=networks.encoder))
    files = [path.name for path in (tmp_path / "out" / "images").iterdir()]
    assert len(files) == 12 and not any("encoder" in name for name in files)


def test_changed_more_and_fewer_images_replace_the_old_ones_in_one_folder(
    go, in_domain, networks, folder, tmp_path
):
    go(in_domain(steps=0))
    (tmp_path / "out" / "index-2.html").write_text("of more images")
    Image.new("RGB", (30, 30), (255, 0, 0)).save(folder / "grey.png")
    Image.new("RGB", (30, 30), (0, 255, 0)).save(folder / "green.png")
    assert go(in_domain(steps=0)).n == 7
    red = [path for path in (tmp_path / "out" / "images").glob("*_grey_input.png")]
    assert (255, 0, 0) in [Image.open(path).getpixel((0, 0)) for path in red]
    assert len(read(tmp_path / "out" / "per_image.csv")) == 7
    for name in ("grey.png", "tall.jpg", "green.png"):
        (folder / name).unlink()
    assert go(EncoderInverter(encoder=networks.encoder)).n == 4, "by another method"
    assert len(list((tmp_path / "out" / "images").iterdir())) == 8
    assert not (tmp_path / "out" / "index-2.html").exists()


def test_renamed_images_are_not_inverted_again_and_all_is_named_as_they_are(
    go, in_domain, folder, tmp_path
):
    inverter = in_domain(steps=0)
    go(inverter)
    out = tmp_path / "out"
    (out / "images" / "mine.png").write_bytes(b"not ours")
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("part-*.safetensors")}
    (folder / "tall.jpg").rename(folder / "tallest.jpg")
    inverter.invert = None  # nothing is left to do
    go(inverter)
    assert before == {p.name: p.read_bytes() for p in tmp_path.rglob("part-*.safetensors")}
    with safe_open(out / "codes.safetensors", framework="pt") as file:
        names = json.loads(file.metadata()["names"])
    assert "tallest.jpg" in names and "tall.jpg" not in names
    for name in ("per_image.csv", "losses.csv", "index.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert "tallest.jpg" in text and "tall.jpg" not in text, name
    pictures = {path.name for path in (out / "images").iterdir()}
    assert "mine.png" in pictures and len(pictures) == 13
    assert not [name for name in pictures if "_tall_" in name]


def test_many_images_take_several_pages(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    entries = [Entry(f"image {i}", "", [("input", tmp_path / "a.png")]) for i in range(401)]
    pages = write_contact_sheet(tmp_path, entries, title="t", facts="<f>")
    assert [path.name for path in pages] == ["index.html", "index-2.html", "index-3.html"]
    last = Page(pages[-1].read_text())
    assert "image 400" in last.text and "image 399" not in last.text and "<f>" in last.text


def test_file_stems_are_safe_and_unique():
    assert file_stem(3, "a/b c.JPG") == "00003_b c"
    assert file_stem(4, "../..") == "00004_image"
    assert len(file_stem(5, "x" * 300 + ".png")) < 90


def test_z_is_written_where_z_moved_and_its_codes_are_those_of_the_file(go, networks, tmp_path):
    inverter = FreeInverter(perceptual=None, lambda_vgg=0.0, space="z", steps=2)
    for _ in range(2):  # inverted, then read back from the chunks
        go(inverter)
        with safe_open(tmp_path / "out" / "codes.safetensors", framework="pt") as file:
            z, codes = file.get_tensor("z"), file.get_tensor("codes")
        assert z.shape == (6, 8)
        assert torch.allclose(networks.generator.mapping(z), codes, atol=1e-6)
        (tmp_path / "out" / "codes.safetensors").unlink()
