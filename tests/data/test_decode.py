"""All image formats and modes, against pixels computed by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from idinvert.data.decode import decode, fit
from idinvert.errors import CorruptImageError, DataError


def pattern(height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth colours that tell left from right and top from bottom, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 40 + 180 * x / width, 30 + 190 * y / height
    return np.stack([red, green, 200 - 100 * x / width], -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode(data, name="a picture")
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    ("kind", "settings", "tolerance"),
    [
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 97, "subsampling": 0}, 6),
        ("JPEG", {"quality": 97, "subsampling": 0, "progressive": True}, 6),
    ],
)
def test_formats(kind, settings, tolerance):
    data = encoded(Image.fromarray(pattern()), kind, **settings)
    assert np.abs(pixels(data) - pattern()).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    upright = pattern()
    # What a camera stores so that the viewer's turn gives the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encoded(image, "PNG", exif=exif)), upright)
    jpeg = pixels(encoded(image, "JPEG", quality=98, subsampling=0, exif=exif))
    assert np.abs(jpeg - upright).max() <= 8


def test_grey_is_repeated():
    grey = pattern()[..., 0]
    for kind, tolerance in (("PNG", 0), ("JPEG", 4)):
        found = pixels(encoded(Image.fromarray(grey), kind))
        assert np.abs(found - grey[..., None]).max() <= tolerance
    bits = (grey > 120).astype(np.uint8) * 255
    found = pixels(encoded(Image.fromarray(bits).convert("1", dither=Image.Dither.NONE)))
    assert np.array_equal(found, np.repeat(bits[..., None], 3, -1))


def test_transparency_is_laid_over_white():
    colour = pattern()
    alpha = np.linspace(0, 255, colour.shape[1]).astype(np.uint8)[None].repeat(24, 0)
    mixed = colour * (alpha / 255.0)[..., None] + 255.0 * (1 - alpha / 255.0)[..., None]
    rgba = Image.fromarray(np.dstack([colour, alpha]))
    assert np.abs(pixels(encoded(rgba)) - mixed).max() <= 1
    assert np.abs(pixels(encoded(rgba, "WEBP", lossless=True, exact=True)) - mixed).max() <= 1
    la = Image.merge("LA", (Image.fromarray(colour[..., 0]), Image.fromarray(alpha)))
    assert np.abs(pixels(encoded(la)) - mixed[..., :1]).max() <= 1


def test_palettes_with_and_without_transparency():
    index = Image.fromarray((np.indices((8, 8)).sum(0) % 3).astype(np.uint8), mode="L")
    index = Image.frombytes("P", (8, 8), index.tobytes())
    index.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    places = np.indices((8, 8)).sum(0) % 3
    assert np.array_equal(pixels(encoded(index)), table[places])
    clear = table.copy()
    clear[1] = 255
    assert np.array_equal(pixels(encoded(index, transparency=1)), clear[places])
    # The transparent colour of an RGB file.
    rgb = Image.fromarray(table[places].astype(np.uint8))
    assert np.array_equal(pixels(encoded(rgb, transparency=(0, 255, 0))), clear[places])


def test_sixteen_bits_are_scaled():
    wide = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    expected = np.rint(wide / 257.0)[..., None].repeat(3, -1)
    assert np.array_equal(pixels(encoded(Image.fromarray(wide))), expected)


def test_cmyk_becomes_rgb():
    image = Image.fromarray(pattern()).convert("CMYK")
    found = pixels(encoded(image, "JPEG", quality=98, subsampling=0))
    assert np.abs(found - pattern()).max() <= 8


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "header", "other"])
def test_damaged_files_are_named(damage):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise))
    broken = {
        "cut": data[: len(data) // 2],
        "garbage": b"this is no picture",
        "empty": b"",
        "header": data[:20] + b"\0" * 40 + data[60:],
        "other": encoded(Image.fromarray(noise), "PPM"),
    }[damage]
    with pytest.raises(CorruptImageError, match=r"holiday\.png.*data\.on_corrupt"):
        decode(broken, name="holiday.png")
    jpeg = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(CorruptImageError):
        decode(jpeg[: len(jpeg) // 2], name="holiday.jpg")


def lanczos(line: np.ndarray, size: int) -> np.ndarray:
    """Antialiased Lanczos-3 resampling along the first axis, float64."""
    scale = len(line) / size
    out = []
    for i in range(size):
        centre = (i + 0.5) * scale
        low, high = int(centre - 3 * scale + 0.5), int(centre + 3 * scale + 0.5)
        places = np.arange(max(low, 0), min(high, len(line)))
        t = (places + 0.5 - centre) / scale
        weights = np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)
        out.append(np.tensordot(weights / weights.sum(), line[places], 1))
    return np.stack(out)


def test_fit_crops_the_centre_and_resizes_antialiased():
    array = np.random.default_rng(1).integers(60, 200, (40, 64, 3)).astype(np.uint8)
    found = fit(Image.fromarray(array), resolution=16, name="x")
    assert found.shape == (3, 16, 16) and found.dtype == torch.uint8 and found.is_contiguous()
    square = array[:, 12:52].astype(np.float64)
    expected = lanczos(lanczos(square, 16).transpose(1, 0, 2), 16).transpose(1, 0, 2)
    assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1.5


def test_fit_leaves_exact_sizes_alone():
    array = pattern(32, 32)
    found = fit(Image.fromarray(array), resolution=32, name="x")
    assert np.array_equal(found.permute(1, 2, 0).numpy(), array)


def test_enlarging_is_refused_unless_allowed():
    image = Image.fromarray(pattern(24, 300))
    with pytest.raises(DataError, match=r"small\.png has 300x24.*at least 32.*data\.allow_upscale"):
        fit(image, resolution=32, name="small.png")
    assert fit(image, resolution=32, name="small.png", allow_upscale=True).shape == (3, 32, 32)
