"""Semantic diffusion against its masked loop written out; what is outside does not count."""

import json

import pytest
import torch
from PIL import Image

from idinvert.editing.diffusion import DiffusionInverter
from idinvert.editing.masks import crop_mask, paste
from idinvert.errors import ConfigError
from idinvert.inversion.inversion import Inverter
from idinvert.networks.encoder import Encoding

BOX = dict(size=6, centre=(7, 9))
MASK = crop_mask(16, **BOX).double()


def inverter(world, **changes):
    choices = dict(lambda_vgg=0.4, steps=12, lr=0.02) | BOX | changes
    return DiffusionInverter(encoder=world.encoder, perceptual=world.features, **choices)


def stitched(world, mask=MASK):
    return paste(world.images, world.images.flip(0), mask)


def reference(world, x, *, fill, average, steps=12, lr=0.02):
    """One stitched image, in the authors' words: both images masked, means over all elements."""
    w = world.encoder(x).detach().clone().requires_grad_()
    adam = torch.optim.Adam([w], lr=lr)
    outside = MASK == 0
    share = 36 / 256 if average == "mask" else 1
    losses = []
    for step in range(steps + 1):
        g = world.generator.synthesis(w)
        x_m, g_m = (v.masked_fill(outside, fill) for v in (x, g))
        f, f_g = world.features(x_m), world.features(g_m)
        loss = ((x_m - g_m) ** 2).sum() / x.numel() + 0.4 * ((f - f_g) ** 2).sum() / f.numel()
        loss = loss / share
        losses.append(loss.item())
        if step < steps:
            adam.zero_grad()
            loss.backward()
            adam.step()
    return w.detach(), torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(("fill", "value"), [("grey", 0.0), ("black", -1.0)])
@pytest.mark.parametrize("average", ["image", "mask"])
def test_equals_the_literal_reference(world, fill, value, average):
    method = inverter(world, fill=fill, average=average, keep_best=False)
    x = stitched(world)
    found = method.invert(x, generator=world.generator)
    for n in (0, 3):
        w, losses = reference(world, x[n : n + 1], fill=value, average=average)
        torch.testing.assert_close(found.losses[:, n], losses, rtol=1e-8, atol=0)
        torch.testing.assert_close(found.codes[n], w[0], rtol=1e-8, atol=1e-10)
    assert (found.losses[-1] < found.losses[0]).all()
    rebuilt = world.generator.synthesis(world.encoder(x))
    torch.testing.assert_close(found.start_images, rebuilt)


@pytest.mark.parametrize("fill", ["grey", "black"])
def test_what_is_outside_the_mask_has_no_influence_on_the_loss(world, fill):
    """Not on its value, and not through its gradient: only the start sees the context."""
    x = stitched(world)
    other = paste(x, torch.rand_like(x) * 2 - 1, MASK)  # another context
    world.encoder.encode = lambda images: Encoding(world.encoder(x[: len(images)]))  # same start
    method = inverter(world, fill=fill)
    a = method.invert(x, generator=world.generator)
    b = method.invert(other, generator=world.generator)
    assert torch.equal(a.losses, b.losses) and torch.equal(a.codes, b.codes)
    inner = paste(torch.rand_like(x) * 2 - 1, x, MASK)  # another target
    c = method.invert(inner, generator=world.generator)
    assert not torch.allclose(a.losses, c.losses, rtol=1e-2)

    images = x.clone().requires_grad_()
    y = images * MASK + (-1.0 if fill == "black" else 0.0) * (1 - MASK)
    loss = (y - 0.3).square().mean() + world.features(y).square().mean()
    (grad,) = torch.autograd.grad(loss, images)
    assert not grad[..., (MASK[0] == 0)].any() and grad[..., (MASK[0] == 1)].abs().min() > 0


def test_the_gradient_of_the_masked_objective_is_the_difference_quotient(world):
    """Adam's first step is −lr·sign(gradient); the gradient is taken by differences here."""
    x = stitched(world)[:1]
    method = inverter(world, steps=1, lr=1e-3, keep_best=False)
    moved = method.invert(x, generator=world.generator).codes - world.encoder(x)

    def loss(w):
        g = world.generator.synthesis(w)
        f, f_g = (world.features(v * MASK) for v in (x, g))
        return (((x - g) * MASK) ** 2).mean() + 0.4 * ((f - f_g) ** 2).mean()

    w, h = world.encoder(x), 1e-5
    slope = torch.zeros_like(w).view(-1)
    for i in range(w.numel()):
        e = torch.zeros_like(w).view(-1)
        e[i] = h
        slope[i] = (loss(w + e.view_as(w)) - loss(w - e.view_as(w))) / (2 * h)
    sure = slope.abs() > 1e-7  # the sign of what is nothing is not sure
    assert sure.double().mean() > 0.9
    assert torch.equal(moved.view(-1).sign()[sure], -slope.sign()[sure])


@pytest.mark.parametrize("early_stop", [None, 2])
def test_does_not_depend_on_batch_mates(world, early_stop):
    x = stitched(world)
    method = inverter(world, steps=20, early_stop=early_stop, early_stop_gain=0.03)
    together = method.invert(x, generator=world.generator)
    apart = method.invert(x[[3, 1]], generator=world.generator)
    torch.testing.assert_close(apart.codes, together.codes[[3, 1]], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(apart.losses, together.losses[:, [3, 1]], rtol=1e-8, atol=0)


def test_a_mask_image_and_masks_of_their_own(world, tmp_path):
    picture = Image.new("L", (16, 16), 0)
    picture.paste(255, (4, 6, 10, 12))  # the same box: columns 4 to 9, rows 6 to 11
    picture.save(tmp_path / "mask.png")
    by_file = inverter(world, mask=tmp_path / "mask.png", size=None, centre=None)
    assert torch.equal(by_file.mask_for(16), MASK.float())
    x = stitched(world)
    a, b = (m.invert(x, generator=world.generator) for m in (by_file, inverter(world)))
    assert torch.equal(a.losses, b.losses)
    own = MASK.float().expand(5, -1, -1, -1).clone()
    own[2] = crop_mask(16, size=4, centre=(5, 5))
    c = inverter(world).invert(x, generator=world.generator, masks=own)
    same = [0, 1, 3, 4]
    torch.testing.assert_close(c.losses[:, same], b.losses[:, same], rtol=1e-10, atol=0)
    assert not torch.allclose(c.losses[:, 2], b.losses[:, 2], rtol=1e-2)
    with pytest.raises(ConfigError, match="the one or the other"):
        inverter(world, mask=tmp_path / "mask.png")


def test_settings_tell_masks_apart(world, tmp_path):
    found = []
    for k in (3, 5):
        picture = Image.new("L", (16, 16), 0)
        picture.paste(255, (0, 0, k, k))
        picture.save(tmp_path / f"{k}.png")
        method = inverter(world, mask=tmp_path / f"{k}.png", size=None, centre=None)
        found.append(json.dumps(method.settings))
    assert found[0] != found[1] and str(tmp_path) not in found[0]
    box = inverter(world)
    assert (box.settings["size"], box.settings["centre"]) == (6, [7, 9])
    assert isinstance(box, Inverter) and box.settings["method"] == "diffusion"
    with pytest.raises(ConfigError, match=r"inversion\.fill is 'white': expected grey or black"):
        inverter(world, fill="white")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_under_callers_without_gradients(world, mode):
    x = stitched(world)
    free = inverter(world, steps=2).invert(x, generator=world.generator)
    with mode():
        masks = MASK.float().expand(5, -1, -1, -1) + 0  # inference tensors under inference_mode
        found = inverter(world, steps=2).invert(x + 0, generator=world.generator, masks=masks)
    torch.testing.assert_close(found.codes, free.codes)


def test_a_mask_that_is_no_file_is_refused(world):
    with pytest.raises(ConfigError, match=r"got inversion\.mask=1: expected the path of an image"):
        inverter(world, mask=1, size=None, centre=None)
