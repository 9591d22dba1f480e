"""Photographs as people have them: every format, profiles, odd names, and what is left out."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageCms

from idinvert.data import decode, formats, inspection
from idinvert.data.__main__ import main
from idinvert.data.folder import image_folder, read_images
from idinvert.editing.masks import read_mask
from idinvert.errors import ConfigError, CorruptImageError, DataError

from .pictures import write_folder, write_zip
from .test_decode import encoded, pattern, pixels

FTYP = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64)
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))


def xyz_of(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """RGB to XYZ of D50, for these primaries: columns are those of red, green and blue."""
    white = np.array([0.9642, 1.0, 0.8249])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, white)


def prophoto(gamma: float = 1.8) -> bytes:
    """An ICC profile of ProPhoto's primaries and gamma."""

    def number(value: float) -> bytes:
        return round(value * 65536).to_bytes(4, "big", signed=True)

    def xyz(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    words = b"Wide"
    desc = b"desc\0\0\0\0" + (len(words) + 1).to_bytes(4, "big") + words + bytes(79)
    matrix = xyz_of(PROPHOTO)
    curve = b"curv\0\0\0\0\0\0\0\1" + round(gamma * 256).to_bytes(2, "big") + bytes(2)
    tags = {b"desc": desc, b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249]))}
    tags |= {
        name + b"XYZ": xyz(column)
        for name, column in zip((b"r", b"g", b"b"), matrix.T, strict=True)
    }
    tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    table, body = len(tags).to_bytes(4, "big"), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + (start + len(body)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += data
    head = bytearray(128)
    head[0:4] = (start + len(body)).to_bytes(4, "big")
    head[8:12], head[12:24], head[36:40] = b"\2\x10\0\0", b"mntrRGB XYZ ", b"acsp"
    head[68:80] = b"".join(map(number, (0.9642, 1.0, 0.8249)))
    return bytes(head) + table + body


def test_every_format_that_is_listed_is_read(tmp_path):
    suffixes = {"PNG": "png", "JPEG": "jfif", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp"}
    suffixes |= {"GIF": "gif", "AVIF": "avif"}
    listed = set(formats.FORMATS) - {"HEIF"}
    assert listed == set(suffixes) & set(formats.FORMATS) and len(listed) >= 6
    image = Image.fromarray(pattern())
    files = {}
    for form in listed:
        data = encoded(image, form)
        difference = np.abs(pixels(data) - pattern())
        assert difference.mean() < (8 if form == "GIF" else 4), form
        files[f"picture.{suffixes[form]}"] = data
    found = read_images(write_folder(tmp_path / "photos", files), resolution=16)
    assert len(found) == len(read_images(write_zip(tmp_path / "a.zip", files), resolution=16))
    assert set(found.names) == set(files)
    for name in files:
        assert len(read_images(tmp_path / "photos" / name, resolution=16)) == 1
        assert read_mask(tmp_path / "photos" / name).shape == (1, 24, 32)


def test_heic_is_read_with_the_extra():
    heif = pytest.importorskip("pillow_heif", reason="the extra photos is not installed")
    if not heif.libheif_info()["encoders"]:
        pytest.skip("this build of pillow-heif cannot write HEIC files to read")
    data = heif.from_pillow(Image.fromarray(pattern()))
    buffer = io.BytesIO()
    data.save(buffer, quality=95)
    assert formats.true_form(buffer.getvalue()) == "HEIF"
    assert np.abs(pixels(buffer.getvalue()) - pattern()).mean() < 4


def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installation without the extra `photos`."""
    fewer = tuple(form for form in formats.FORMATS if form != "HEIF")
    suffixes = tuple(s for s in formats.SUFFIXES if not s.startswith((".hei", ".hif")))
    monkeypatch.setattr(decode, "HAVE_HEIF", False)
    monkeypatch.setattr(decode, "FORMATS", fewer)
    for module in ("idinvert.data.formats", "idinvert.data.source"):
        monkeypatch.setattr(f"{module}.SUFFIXES", suffixes)


def test_what_is_not_read_is_counted_by_kind_with_advice(tmp_path, monkeypatch, capsys):
    without_heif(monkeypatch)
    image = encoded(Image.fromarray(pattern()), "JPEG")
    names = [
        "a.heic",
        "b.HEIC",
        "c.heif",
        "more.zip",
        "raw.CR2",
        "clip.mov",
        "notes.txt",
        ".x.heic",
    ]
    files = {"1.jpg": image, "2.jpg": image + b"\0", **dict.fromkeys(names, FTYP)}
    expected = (
        "3 HEIC files: pip install 'idinvert[photos]'",
        "1 camera raw file: export them as JPEG or TIFF",
        "1 video: export single frames",
        "1 nested archive: unpack it",
    )
    folder, archive = write_folder(tmp_path / "p", files), write_zip(tmp_path / "p.zip", files)
    for path in (folder, archive):
        with pytest.warns(UserWarning, match="not read") as warned:
            assert len(read_images(path, resolution=16)) == 2
        said = "".join(str(one.message) for one in warned)
        assert main(["inspect", str(path)]) == 0
        assert main(["prepare", str(path), str(tmp_path / path.name) + "-", "--resolution=8"]) == 0
        printed = capsys.readouterr().out
        for line in expected:
            assert line in said and printed.count(line) == 2, line
        assert "txt" not in said + printed
    report = json.loads((tmp_path / "p-.report.json").read_text())
    assert report["left_out"] == list(expected)
    with pytest.raises(DataError, match=r"a\.heic: 1 HEIC file: pip install 'idinvert\[photos\]'"):
        read_images(folder / "a.heic", resolution=16)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "b.heic").write_bytes(FTYP)
    with pytest.raises(DataError, match=r"no image.*1 HEIC file: pip install"):
        read_images(tmp_path / "only", resolution=16)


def test_a_heic_named_jpg_says_so(tmp_path, monkeypatch):
    without_heif(monkeypatch)
    (tmp_path / "phone.jpg").write_bytes(FTYP)
    said = r"phone\.jpg: it is a HEIC file, whatever its name; pip install 'idinvert\[photos\]'"
    with pytest.raises(CorruptImageError, match=said):
        read_images(tmp_path, resolution=16)
    assert inspection.inspect(tmp_path)["damage"][0].count("it is a HEIC file") == 1
    (tmp_path / "whole.png").write_bytes(encoded(Image.fromarray(pattern())))
    with pytest.warns(UserWarning, match=r"phone\.jpg \(it is a HEIC .*'idinvert\[photos\]'\)$"):
        read_images(tmp_path, resolution=16, on_corrupt="skip")


def test_profiles_are_converted_to_srgb(tmp_path):
    profile = prophoto()
    # An orange of sRGB, in ProPhoto's numbers: by hand, over XYZ of D50.
    srgb = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169]])
    srgb = np.vstack([srgb, [0.0139322, 0.0971045, 0.7141733]])
    orange = np.array([240, 130, 30])
    v = orange / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    wide = np.linalg.solve(xyz_of(PROPHOTO), srgb @ linear).clip(0, 1) ** (1 / 1.8)
    stored = np.rint(wide * 255).astype(np.uint8)
    assert np.abs(stored.astype(int) - orange).max() > 30  # what was shown before
    image = Image.new("RGB", (8, 8), tuple(map(int, stored)))
    for form in ("PNG", "TIFF"):
        found = pixels(encoded(image, form, icc_profile=profile))
        assert np.abs(found - orange).max() <= 3, form
    photos = write_folder(
        tmp_path / "photos", {"a.tif": encoded(image, "TIFF", icc_profile=profile)}
    )
    assert main(["prepare", str(photos), str(tmp_path / "p.zip"), "--resolution=8"]) == 0
    for path in (photos, tmp_path / "p.zip"):  # as task=invert reads them
        shown = read_images(path, resolution=8)[0]["image"].numpy().transpose(1, 2, 0)
        assert np.abs(shown.astype(int) - orange).max() <= 3, path
    clear = image.copy()
    clear.putalpha(0)
    assert np.array_equal(pixels(encoded(clear, icc_profile=profile)), np.full((8, 8, 3), 255))
    # sRGB says nothing new, and a broken profile nothing at all.
    for other in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"broken"):
        assert np.array_equal(pixels(encoded(image, icc_profile=other)), np.asarray(image))


def test_fingerprints_change_only_where_pixels_do(tmp_path):
    def fingerprint(**settings):
        images = [Image.new("RGB", (16, 16), (9 * i, 80, 20)) for i in range(4)]
        files = {f"{i}.png": encoded(images[i], **settings) for i in range(4)}
        folder = write_folder(tmp_path / str(len(list(tmp_path.iterdir()))), files)
        options = {"resolution": 16, "cache_dir": tmp_path / "cache", "val": 1}
        return image_folder(path=folder, split={"kind": "order", "test": 1}, **options).fingerprint

    def of_version_one(marked, **settings):
        digest = hashlib.sha256(b"1/16\n")
        for part in ((0, 1), (2,), (3,)):
            for i in part:
                data = encoded(Image.new("RGB", (16, 16), (9 * i, 80, 20)), **settings)
                digest.update((hashlib.sha256(data).hexdigest() + "/2" * marked + "\n").encode())
            digest.update(b"\n")
        return digest.hexdigest()[:16]

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert fingerprint() == of_version_one(False)
    assert fingerprint(icc_profile=srgb) == of_version_one(False, icc_profile=srgb)
    assert fingerprint(icc_profile=prophoto()) == of_version_one(True, icc_profile=prophoto())


def test_the_limit_of_megapixels_can_be_raised_and_lowered(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.new("1", (14_000, 14_000)).save(tmp_path / "large.png")  # 196 million pixels
    with pytest.raises(
        CorruptImageError, match=r"196,000,000 pixels; expected 134 meg.*`task\.megapixels`"
    ):
        read_images(tmp_path, resolution=16)
    assert main(["inspect", str(tmp_path)]) == 0
    assert "--megapixels" in capsys.readouterr().out
    with pytest.raises(CorruptImageError, match="expected 195 megapixels at most"):
        read_images(tmp_path, resolution=16, megapixels=195)
    monkeypatch.setattr(decode.ImageOps, "exif_transpose", lambda image: image.resize((20, 20)))
    assert len(read_images(tmp_path, resolution=16, megapixels=200)) == 1
    assert main(["inspect", str(tmp_path), "--megapixels", "200"]) == 0
    assert "14000" not in capsys.readouterr().err
    for bad in (0, -1, float("nan"), True):
        with pytest.raises(ConfigError, match="megapixels"):
            read_images(tmp_path, resolution=16, megapixels=bad)


def test_prepare_and_invert_leave_out_the_same_files(tmp_path, capsys):
    good = encoded(Image.fromarray(pattern()))
    small = encoded(Image.new("RGB", (9, 30)))
    folder = write_folder(
        tmp_path / "p",
        {
            "My Photo (1) [x].png": good,
            "写真.png": good + b"\0",
            "s.png": small,
            "t.png": good[:90],
        },
    )
    said = r"left out 1 damaged file and 1 small file of .*: t\.png \(.+\), s\.png \(9x30 pixels\)$"
    with pytest.warns(UserWarning, match=said):
        assert len(read_images(folder, resolution=16, on_corrupt="skip")) == 2
    assert main(["prepare", str(folder), str(tmp_path / "o"), "--resolution", "16"]) == 0
    assert "left out  1 damaged file and 1 small file" in capsys.readouterr().out
    with pytest.raises(
        CorruptImageError, match=r"t\.png.*\(1 damaged file and 1 small file in all"
    ):
        read_images(folder, resolution=16)
    (folder / "t.png").unlink()
    with pytest.raises(DataError, match=r"s\.png .*9x30 pixels.*on_corrupt=skip"):
        read_images(folder, resolution=16)
    again = ["prepare", str(folder), str(tmp_path / "q"), "--resolution=16", "--on-corrupt=error"]
    assert main(again) == 2
    assert "s.png" in capsys.readouterr().err


def test_masks_are_read_as_images_are(tmp_path):
    half = Image.new("RGBA", (8, 4), "black")
    half.paste((0, 0, 0, 0), (0, 0, 4, 4))
    half.save(tmp_path / "half.png")
    found = read_mask(tmp_path / "half.png")
    assert found[0, 0].tolist() == [255] * 4 + [0] * 4  # transparency over white
    half = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    half.paste("white", (0, 0, 4, 4))
    half.save(tmp_path / "shape.png")
    with pytest.raises(DataError, match="white all over, as transparent parts count as white"):
        read_mask(tmp_path / "shape.png")
