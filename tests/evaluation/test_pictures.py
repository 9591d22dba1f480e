"""Picture grids: every pixel where it belongs, words that fit, a PDF whose words are text."""

import re
import zlib

import pytest
import torch
from PIL import Image

from idinvert.evaluation.pictures import Sheet, draw, grid, to_image, write_sheet


def plain(colour, side=4):
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    image[:] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    return image


RED, BLUE = (255, 0, 0), (0, 0, 255)


def boxes(picture, colour):
    """Left, top, right, bottom of what has this colour."""
    pixels = torch.tensor(list(picture.convert("RGB").getdata())).view(picture.height, -1, 3)
    ys, xs = (pixels == torch.tensor(colour)).all(2).nonzero(as_tuple=True)
    return [int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


def test_images_are_enlarged_to_squares_without_a_blur(tmp_path):
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    image[0, 0, 0] = 255  # one red pixel above, left
    paths = write_sheet(Sheet(rows=[[image, plain(BLUE, 2)]]), tmp_path)
    assert [path.name for path in paths] == ["pictures.png", "pictures.pdf"]
    with Image.open(paths[0]) as picture:
        assert boxes(picture, RED) == [4, 4, 52, 52]
        assert boxes(picture, BLUE) == [104, 4, 200, 100]
        assert picture.size == (204, 104)
        assert len(picture.convert("RGB").getcolors()) == 4, "red, black, blue, paper"


def test_floats_are_clamped_and_a_grid_is_one_picture():
    image = torch.tensor([[[-1.0, 1.0], [0.0, 3.0]]]).expand(3, 2, 2)
    picture = to_image(image, side=6)
    colours = [picture.getpixel(place)[0] for place in ((2, 2), (3, 2), (2, 3), (5, 5))]
    assert picture.size == (6, 6) and colours == [0, 255, 128, 255]
    made = grid([[plain(RED), plain(BLUE)], [plain(BLUE)]], scale=3)
    assert boxes(made, RED) == [4, 4, 16, 16] and made.size == (36, 36)
    words = grid([[plain(RED)], [plain(BLUE)]], labels=["input", "result"], headers=["a"], scale=3)
    assert words.width > 20 and words.height > 36


def test_images_of_several_sizes_are_shown_at_one(tmp_path):
    sheet = Sheet(rows=[[plain(RED, 8), plain(BLUE, 16)]])
    (png, _) = write_sheet(sheet, tmp_path)
    with Image.open(png) as picture:
        left, top, right, bottom = boxes(picture, RED)
        assert (right - left, bottom - top) == (96, 96)
        left, top, right, bottom = boxes(picture, BLUE)
        assert (right - left, bottom - top) == (96, 96)


def test_words_stand_around_and_groups_apart(tmp_path):
    bare = draw(Sheet(rows=[[plain(RED)] * 3] * 2)).get_size_inches()
    sheet = Sheet(
        rows=[[plain(RED), None, plain(BLUE)], [plain(RED), plain(BLUE), None]],
        labels=["Image2StyleGAN", "Ours"], headers=[("Input", 1), ("Interpolation", 2)],
        groups=[("Face", 1), ("Tower", 1)],
    )  # fmt: skip
    figure = draw(sheet)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["Input", "Interpolation", "Face", "Tower", "Image2StyleGAN", "Ours"]
    assert figure.get_size_inches()[0] > bare[0] + 1 and figure.get_size_inches()[1] > bare[1]
    renderer = figure.canvas.get_renderer()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_long_headers_are_broken_and_stay_apart():
    long = "A domain-guided encoder trained with everything"
    figure = draw(Sheet(rows=[[plain(RED)] * 2], headers=[(long, 1), (long, 1)]))
    renderer = figure.canvas.get_renderer()
    first, second = (text.get_window_extent(renderer) for text in figure.axes[0].texts)
    assert "\n" in figure.axes[0].texts[0].get_text()
    assert first.x1 < second.x0


def test_the_pdfs_words_are_text_and_its_images_images(tmp_path):
    sheet = Sheet(rows=[[plain(RED), plain(BLUE)]], headers=[("Input", 1), ("Result", 1)])
    (_, pdf) = write_sheet(sheet, tmp_path, name="figure")
    content = pdf.read_bytes()
    assert content.count(b"/Subtype /Image") == 2
    assert b"/Type /Font" in content
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    texts = b""
    for stream in streams:
        try:
            texts += zlib.decompress(stream)
        except zlib.error:
            continue
    assert re.search(rb"BT\b.*?T[jJ]", texts, re.DOTALL), "text, not outlines"
    again = write_sheet(sheet, tmp_path / "again", name="figure")[1].read_bytes()
    assert again == content


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="without images"):
        draw(Sheet(rows=[[None]]))
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        draw(Sheet(rows=[[plain(RED)]] * 2, labels=["a"]))
    with pytest.raises(ValueError, match=r"headers span \[2\] of 1"):
        draw(Sheet(rows=[[plain(RED)]], headers=[("a", 2)]))
