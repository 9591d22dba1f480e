"""`task=invert`: a folder of whatever people have, in; codes, pictures and a page, out."""

import json
import zipfile

import pytest
import torch
from PIL import Image
from safetensors import safe_open

NASTY = '<img src=x onerror=alert(1)> & "it\'s" Ünïcode 日本.png'


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Odd files: of several pairs we know that they show the same picture."""
    root = tmp_path_factory.mktemp("mine") / "my photos"
    (root / "deeper").mkdir(parents=True)
    noise = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, size=(40, 30), mode="bicubic").clamp(0, 1)[0]
    rgb = Image.fromarray((smooth * 255).to(torch.uint8).permute(1, 2, 0).numpy().copy())
    rgb.save(root / "plain.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees before it is shown
    rgb.transpose(Image.Transpose.ROTATE_90).save(root / "turned.png", exif=turned)
    rgb.save(root / "deeper" / NASTY)
    rgb.convert("L").save(root / "grey.png")
    rgb.convert("L").convert("RGB").save(root / "grey_as_rgb.png")
    few = rgb.quantize(16)
    few.save(root / "palette.png")
    few.convert("RGB").save(root / "palette_as_rgb.png")
    clear = rgb.convert("RGBA")
    clear.putalpha(0)
    clear.save(root / "clear.png")
    Image.new("RGB", rgb.size, "white").save(root / "white.png")
    rgb.convert("CMYK").save(root / "print.jpg")
    return root


SAME = [
    ("plain.png", "turned.png"),
    ("plain.png", f"deeper/{NASTY}"),
    ("grey.png", "grey_as_rgb.png"),
    ("palette.png", "palette_as_rgb.png"),
    ("clear.png", "white.png"),
]


@pytest.fixture
def broken(photos):
    """The folder with a file that was cut off in the middle."""
    whole = (photos / "print.jpg").read_bytes()
    path = photos / "broken.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    yield path
    path.unlink()


def codes_of(folder):
    with safe_open(folder / "codes.safetensors", framework="pt") as file:
        facts = file.metadata()
        return dict(zip(json.loads(facts["names"]), file.get_tensor("codes"), strict=True)), facts


def results(outputs, run):
    (folder,) = (outputs / "evaluations" / run).glob("invert-*")
    return folder


def test_odd_images_are_read_as_they_look(on_run, photos, broken, outputs, world):
    words = ("task=invert", f"images={photos}", "inversion.steps=1")
    with pytest.warns(UserWarning, match=r"left out 1 damaged.*broken\.jpg"):
        (record,) = on_run(*words, "task.on_corrupt=skip")
    out = results(outputs, world.run.name)
    codes, facts = codes_of(out)
    assert record.task == "invert" and record.n == len(codes) == 10
    assert all(code.shape == (6, 8) and code.isfinite().all() for code in codes.values())
    for one, other in SAME:
        torch.testing.assert_close(codes[one], codes[other], msg=f"{one} and {other}")
    assert not torch.allclose(codes["plain.png"], codes["grey.png"])
    assert facts["generator"] == record.checkpoints["generator"]


def test_a_zip_and_a_single_file_give_the_same_codes(on_run, photos, tmp_path, outputs, world):
    archive = tmp_path / "sent to me.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photos.rglob("*.*")):
            file.write(path, path.relative_to(photos).as_posix())
    found = {}
    for source in (photos, archive, photos / "plain.png"):
        on_run("task=invert", f"images={source}", "inversion.steps=1")
        (out,) = (outputs / "evaluations" / world.run.name).glob(f"invert-{source.stem}-*")
        found[source.name], _ = codes_of(out)
    assert found["my photos"].keys() == found["sent to me.zip"].keys()
    for name, code in found["my photos"].items():
        torch.testing.assert_close(found["sent to me.zip"][name], code)
    assert list(found["plain.png"]) == ["plain.png"]
    torch.testing.assert_close(
        found["plain.png"]["plain.png"], found["my photos"]["plain.png"], rtol=1e-3, atol=1e-5
    )
