"""Panels: the same images under the same key, PNG copies, and networks left as they were."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idinvert.training.callbacks.panel import Panel
from idinvert.training.gan import GANTraining
from idinvert.training.panels import FixedImages, reconstruction_rows, sample_rows
from idinvert.training.schedules import Constant
from tests.training.tiny import fit, image_batches, tiny_discriminator, tiny_generator


class Shown:
    """A logger that keeps pictures."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def log_image(self, **call: Any) -> None:
        self.calls.append(call)


@pytest.fixture
def gan():
    return GANTraining(
        generator=tiny_generator(),
        discriminator=tiny_discriminator(),
        r1_gamma=1.0,
        r1_every=16,
        style_mixing=0.9,
        lr=1e-3,
        betas=(0.0, 0.99),
        schedule=Constant(),
        ema_half_life=100.0,
        ema_rampup=None,
        w_avg_half_life=100.0,
        mirror=False,
        seed=0,
    )


def test_samples_are_drawn_when_due_and_at_the_end_from_the_same_codes(gan, tmp_path):
    draw = partial(sample_rows, count=6)
    first, again = draw(gan), draw(gan)
    (caption,) = first
    assert torch.equal(first[caption], again[caption])
    assert first[caption].shape == (6, 3, 8, 8) and first[caption].dtype == torch.uint8
    panel = Panel(key="samples", draw=draw, folder=str(tmp_path), every_nimg=8, per_row=3, scale=2)
    fit(gan, image_batches(count=3, size=4), callbacks=[panel])
    files = sorted((tmp_path / "panels" / "samples").iterdir())
    assert [file.name for file in files] == ["nimg-000000008.png", "nimg-000000012.png"]
    # 3 by 2 pictures of 8 px with a border of 1, twice enlarged
    assert Image.open(files[0]).size == (2 * (3 * 9 + 1), 2 * (2 * 9 + 1))


def test_frozen_parts_stay_in_evaluation_mode_after_a_picture(gan, tmp_path):
    panel = Panel(
        key="samples",
        draw=partial(sample_rows, count=2),
        folder=str(tmp_path),
        every_nimg=4,
        per_row=2,
        scale=1,
    )
    fit(gan, image_batches(count=1, size=4), callbacks=[panel])
    assert not any(part.training for part in gan.average.modules())
    assert all(part.training for part in gan.generator.modules())


def test_reconstructions_stand_beside_their_images_named_by_id(tmp_path):
    class Negative:
        device, dtype = torch.device("cpu"), torch.float32

        def reconstruct(self, images):
            return -images

    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 8, 8), generator=rng, dtype=torch.uint8)
    dataset = [{"image": image, "id": 70 + index} for index, image in enumerate(images)]
    rows = reconstruction_rows(Negative(), FixedImages(dataset, count=2))
    assert list(rows) == ["image 70", "image 71"]
    for index, pair in enumerate(rows.values()):
        assert torch.equal(pair[0], images[index])
        assert torch.equal(pair[1], 255 - images[index])


def test_loggers_get_the_key_the_captions_and_the_images_seen(gan, tmp_path):
    class Trainer:
        is_global_zero = True
        loggers = (object(), shown := Shown())

    gan.clock.nimg = 40
    panel = Panel(
        key="samples",
        draw=partial(sample_rows, count=2),
        folder=str(tmp_path),
        every_nimg=4,
        per_row=2,
        scale=1,
    )
    panel.on_train_end(Trainer, gan)  # type: ignore[arg-type]
    (call,) = Trainer.shown.calls
    assert (call["key"], call["step"]) == ("samples", 40)
    assert call["caption"] == ["2 samples, seed 0"]
    assert call["images"][0].dtype == np.uint8
