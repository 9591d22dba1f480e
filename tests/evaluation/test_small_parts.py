"""Progress line, pictures, timing and chunks."""

import io

import pytest
import torch
from rich.console import Console

from idinvert.evaluation.chunk_store import Chunks, spans
from idinvert.evaluation.inversion_module import Progress
from idinvert.evaluation.pictures import default_scale, grid, to_image
from idinvert.evaluation.provenance import Provenance
from idinvert.evaluation.speed import seconds_per_call, seconds_per_image


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("idinvert.evaluation.inversion_module.time", clock)
    return clock


def test_rate_counts_only_what_this_process_did(clock):
    line = Progress(500, label="in_domain", done=100, shown=False)
    assert line.line() == "in_domain 100/500 · – images/s"
    clock.now += 50
    line.update(200.0)
    assert line.line() == "in_domain 200/500 · 2 images/s · 2:30 left"
    clock.now += 350
    line.update(201.0)
    assert line.pace() == "0.253 images/s · 19:44 left"
    clock.now += 40000
    assert line.pace() == "0.0025 images/s · 33:13:20 left"


def test_a_file_gets_a_line_now_and_then(clock):
    file = io.StringIO()
    with Progress(10, label="x", every=30, console=Console(file=file, width=80)) as line:
        for second in range(1, 10):
            clock.now += 10
            line.update(second)
    lines = file.getvalue().splitlines()
    assert [text.split(" · ")[0] for text in lines] == ["x 3/10", "x 6/10", "x 9/10", "x 9/10"]


def test_a_terminal_gets_a_bar():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with Progress(10, label="inverting", console=console) as line:
        line.update(4.5)
    assert "inverting" in file.getvalue() and "4/10" in file.getvalue()


def test_silent_where_not_shown():
    file = io.StringIO()
    with Progress(10, label="x", shown=False, every=0, console=Console(file=file)) as line:
        line.update(5)
    assert file.getvalue() == ""


def test_pictures_are_enlarged_pixel_by_pixel():
    image = torch.tensor([[[-1.0, 1.0], [0.0, 3.0]]]).expand(3, 2, 2)
    picture = to_image(image, scale=3)
    assert picture.size == (6, 6)
    assert picture.getpixel((2, 2)) == (0, 0, 0) and picture.getpixel((3, 2)) == (255,) * 3
    assert picture.getpixel((2, 3)) == (128,) * 3 and picture.getpixel((5, 5)) == (255,) * 3
    assert [default_scale(r) for r in (16, 100, 128, 256)] == [8, 2, 1, 1]


def test_grid_places_every_image():
    red, blue = (torch.zeros(3, 4, 4, dtype=torch.uint8) for _ in range(2))
    red[0], blue[2] = 255, 255
    sheet = grid([[red, blue], [blue]], scale=2, gap=4)
    assert sheet.size == (4 + 2 * 12, 4 + 2 * 12)
    assert sheet.getpixel((5, 5)) == (255, 0, 0) and sheet.getpixel((17, 5)) == (0, 0, 255)
    assert sheet.getpixel((5, 17)) == (0, 0, 255) and sheet.getpixel((17, 17)) == (255,) * 3
    labelled = grid([[red, blue], [blue]], labels=["input", "result"], headers=["a", "b"], scale=2)
    assert labelled.width > sheet.width and labelled.height > sheet.height
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        grid([[red], [blue]], labels=["input"])
    with pytest.raises(ValueError, match="one size"):
        grid([[red, torch.zeros(3, 2, 2, dtype=torch.uint8)]])


def test_chunks_cover_every_image_once():
    assert spans(10, size=4) == [(0, 4), (4, 8), (8, 10)]
    items = [{"image": torch.zeros(3, 2, 2), "id": 5 + i, "name": str(i)} for i in range(10)]
    batch = Chunks(items, [(8, 10)])[0]
    assert batch["index"].tolist() == [8, 9] and batch["id"].tolist() == [13, 14]
    assert batch["name"] == ["8", "9"] and batch["image"].shape == (2, 3, 2, 2)


def test_timing_is_of_single_warm_calls():
    seen = []
    times = seconds_per_call(lambda x: seen.append(len(x)), torch.zeros(3, 3, 4, 4), warm_up=2)
    assert seen == [1] * 5 and len(times) == 3 and all(t >= 0 for t in times)


def test_an_encoder_is_timed_without_the_generator(networks):
    from idinvert.inversion.encoder import EncoderInverter

    calls = []
    handle = networks.generator.register_forward_hook(lambda *_: calls.append(1))
    inverter = EncoderInverter(encoder=networks.encoder)
    x = torch.zeros(2, 3, 16, 16)
    inverter.invert = None  # must not be called
    seconds, text = seconds_per_image(inverter, generator=networks.generator, images=x)
    handle.remove()
    assert seconds > 0 and not calls and "median of 2; E's forward alone" in text


@pytest.mark.parametrize(("header", "commit"), [({"commit": "1f2e"}, "1f2e"), ({}, None)])
def test_a_record_names_the_commit_that_trained_its_weights(header, commit):
    found = Provenance.of(header, checkpoints={"encoder": "ab"}, role="encoder", choices={})
    assert found.versions.get("trained_by") == commit and found.run == "ab"
