"""Boxes, mask images and pasting, pixel by pixel."""

import pytest
import torch
from PIL import Image

from idinvert.editing.masks import crop_mask, fit_mask, paste, read_mask
from idinvert.errors import ConfigError, DataError


def test_the_box_is_the_authors():
    """crop 110 around (125, 145) of 256: rows 90 to 199, columns 70 to 179."""
    mask = crop_mask(256)
    assert mask.shape == (1, 256, 256) and mask.sum() == 110 * 110
    rows, columns = mask[0].nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (90, 199, 70, 179)
    assert torch.equal(crop_mask(256, size=110, centre=(125, 145)), mask)
    small = crop_mask(32)[0].nonzero()
    assert small.min(0).values.tolist() == [11, 9] and small.max(0).values.tolist() == [24, 22]


def test_x_comes_before_y():
    mask = crop_mask(16, size=3, centre=(2, 10))
    assert mask[0].nonzero().min(0).values.tolist() == [9, 1]


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 17}, {"size": 6, "centre": (2, 8)}])
def test_a_box_that_leaves_the_image_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"inversion\.size, inversion\.centre"):
        crop_mask(16, **wrong)


def test_paste_takes_the_target_inside_and_the_context_outside():
    rng = torch.Generator().manual_seed(0)
    target, context = torch.rand(2, 4, 3, 16, 16, generator=rng, dtype=torch.float64)
    masks = torch.rand(4, 1, 16, 16, generator=rng) > 0.5
    stitched = paste(target, context, masks)
    assert torch.equal(stitched, torch.where(masks, target, context))
    one = paste(target, context, masks[2])
    assert torch.equal(one, torch.where(masks[2], target, context))
    with pytest.raises(ConfigError, match="expected images of one shape"):
        paste(target, context[..., :8], masks)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_any_picture_is_a_mask(tmp_path, mode):
    picture = Image.new("RGB", (8, 4), (90, 90, 90))
    picture.paste((230, 240, 250), (6, 0, 8, 2))
    path = tmp_path / "mask.png"
    picture.convert(mode).save(path)
    if mode == "1":  # dithered: only the shape is sure
        assert read_mask(path).shape == (1, 4, 8)
        return
    grey = read_mask(path)
    assert grey.shape == (1, 4, 8) and grey.dtype == torch.uint8
    mask = fit_mask(grey, resolution=16)
    expected = torch.zeros(1, 16, 16)
    expected[:, :8, 12:] = 1
    assert torch.equal(mask, expected)


def test_masks_of_their_own_and_floats():
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, 1, 2], masks[1, 0, 3, 3] = 0.5, 1.0
    fitted = fit_mask(masks, resolution=8)
    assert fitted.sum((1, 2, 3)).tolist() == [1, 1] and fitted[0, 0, 1, 2] == 1
    assert fit_mask(masks, resolution=16).sum() == 8
    masks[1] = 0
    with pytest.raises(ConfigError, match="black all over"):
        fit_mask(masks, resolution=8)
    with pytest.raises(ConfigError, match=r"\[3, 8, 8\]"):
        fit_mask(torch.ones(3, 8, 8), resolution=8)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"inversion\.mask=.*mask\.png"):
        read_mask(path)
    with pytest.raises(DataError, match="missing"):
        read_mask(tmp_path / "missing.png")
