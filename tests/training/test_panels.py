"""What the panels show, against the formulas written out; networks are left as they were."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.editing.directions import Direction
from idinvert.training import panels
from idinvert.training.callbacks.panel import Panel

from .tiny import tiny_encoder, tiny_features, tiny_generator


@pytest.fixture
def module():
    """What a panel sees of a training module."""
    generator = tiny_generator().eval().requires_grad_(False)
    features = tiny_features().eval().requires_grad_(False)
    return SimpleNamespace(
        generator=generator,
        encoder=tiny_encoder().eval(),
        perceptual=features,
        device=torch.device("cpu"),
        dtype=torch.float32,
        nimg=64,
    )


@pytest.fixture
def dataset():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=rng, dtype=torch.uint8)
    return [{"image": image, "id": 70 + index} for index, image in enumerate(images)]


@pytest.fixture
def fixed(dataset):
    return panels.FixedImages(dataset, count=3, steps=3, lambda_vgg=0.1)


def pixels(images: Tensor) -> Tensor:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def test_inversions_stand_beside_original_and_encoding(module, fixed, dataset):
    with torch.no_grad():
        rows = panels.inversion_rows(module, fixed)
    assert list(rows) == ["image 70", "image 71", "image 72"]
    images = torch.stack([item["image"] for item in dataset[:3]])
    x = images.float() / 127.5 - 1
    with torch.no_grad():
        encoded = module.generator.synthesis(module.encoder(x), noise="const")
    for index, strip in enumerate(rows.values()):
        assert strip.shape == (3, 3, 8, 8) and strip.dtype == torch.uint8
        assert torch.equal(strip[0], images[index])
        assert (strip[1].int() - pixels(encoded)[index].int()).abs().max() <= 1
    found = fixed.inverted(module)
    assert found.losses.shape == (4, 3)  # the start and three steps
    assert (found.losses.min(0).values <= found.losses[0]).all()
    assert found.terms.keys() == {"pixel", "perceptual", "domain"}


def test_images_are_inverted_once_a_round_and_anew_in_the_next(module, fixed):
    first = fixed.inverted(module)
    assert fixed.inverted(module) is first
    module.nimg = 128
    again = fixed.inverted(module)
    assert again is not first and torch.equal(again.codes, first.codes)  # nothing is drawn


def test_an_interpolation_goes_from_original_to_original_through_the_codes(module, fixed):
    with torch.no_grad():
        ((caption, strip),) = panels.interpolation_rows(module, fixed, steps=1).items()
        codes = fixed.inverted(module).codes
        middle = module.generator.synthesis((codes[:1] + codes[1:2]) / 2, noise="const")
    assert caption == "image 70 to image 71" and strip.shape == (5, 3, 8, 8)
    assert torch.equal(strip[0], fixed.images[0]) and torch.equal(strip[-1], fixed.images[1])
    assert (strip[2].int() - pixels(middle)[0].int()).abs().max() <= 1


def test_a_manipulation_moves_the_inverted_codes_along_the_direction(module, fixed):
    vector = torch.zeros(1, 8)
    vector[0, 2] = 1.0
    direction = Direction("smile", vector, (1, 2), {})
    with torch.no_grad():
        rows = panels.manipulation_rows(module, fixed, direction, steps=(-3, 3), count=2)
        moved = fixed.inverted(module).codes[1:2].clone()
        moved[:, 1:3, 2] += 3.0  # Eq. (5) on the direction's layers
        edited = module.generator.synthesis(moved, noise="const")
    assert list(rows) == ["image 70, smile -3 to 3", "image 71, smile -3 to 3"]
    strip = rows["image 71, smile -3 to 3"]
    assert strip.shape == (4, 3, 8, 8)  # original, inversion, -3, 3
    assert torch.equal(strip[0], fixed.images[1])
    assert (strip[3].int() - pixels(edited)[0].int()).abs().max() <= 1


def test_a_diffusion_shows_target_context_stitched_and_what_comes_of_it(module, fixed):
    with torch.no_grad():
        rows = panels.diffusion_rows(module, fixed, count=5)
    assert list(rows) == ["image 70 into image 71", "image 71 into image 72"]
    target, context, stitched, blend, grown = rows["image 70 into image 71"]
    assert torch.equal(target, fixed.images[0]) and torch.equal(context, fixed.images[1])
    # The authors' box of 110 of 256 px around (125, 145): 3 of 8 px around (4, 5).
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[4:7, 3:6] = True
    assert torch.equal(stitched[:, inside], target[:, inside])
    assert torch.equal(stitched[:, ~inside], context[:, ~inside])
    assert not torch.equal(blend, stitched) and not torch.equal(grown, stitched)


def test_noise_maps_of_an_encoder_go_with_their_images(module, fixed, monkeypatch):
    import dataclasses

    found = fixed.inverted(module)
    shapes = module.generator.noise_shapes
    noise = [torch.randn(3, 1, *shape, generator=torch.Generator().manual_seed(k))
             for k, shape in enumerate(shapes)]  # fmt: skip
    monkeypatch.setattr(fixed, "_made", (64, dataclasses.replace(found, noise=noise)))
    with torch.no_grad():
        (strip,) = panels.interpolation_rows(module, fixed, steps=1).values()
        codes = (found.codes[:1] + found.codes[1:2]) / 2
        mixed = [(maps[:1] + maps[1:2]) / 2 for maps in noise]
        middle = module.generator.synthesis(codes, noise=mixed)
        direction = Direction("smile", torch.eye(8)[:1], None, {})
        rows = panels.manipulation_rows(module, fixed, direction, steps=(1,), count=3)
        alone = module.generator.synthesis(found.codes[2:], noise=[maps[2:] for maps in noise])
    assert (strip[2].int() - pixels(middle)[0].int()).abs().max() <= 1
    last = list(rows.values())[2]
    assert (last[1].int() - pixels(alone)[0].int()).abs().max() <= 1


def test_where_no_memory_is_left_the_panel_gives_up_once_and_training_goes_on(tmp_path, capsys):
    network = torch.nn.Linear(2, 2)
    calls = []

    def draw(module):
        calls.append(module.training)
        raise torch.OutOfMemoryError("out of memory")

    panel = Panel(key="inversion", draw=draw, folder=tmp_path, every_nimg=1, per_row=1, scale=1)
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[])
    for nimg in (4, 8):
        network.nimg = nimg  # type: ignore[assignment]
        panel.on_train_end(trainer, network)
    assert calls == [False] and network.training
    assert capsys.readouterr().out.count("logging.panel_images") == 1
