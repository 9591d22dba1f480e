"""e4e: both steps against formulas in float64, the schedule of differences, the pool."""

from typing import Any

import pytest
import torch
from torch import Tensor

from idinvert.config.compose import compose_plain
from idinvert.errors import ConfigError
from idinvert.training.e4e import E4eTraining

from .equations import drawn_codes, gradients, latent_loss, latent_term, of_layer, pixels, preset
from .tiny import fit, image_batches, tiny_encoder, tiny_features, tiny_generator

TIGHT = dict(rtol=1e-9, atol=1e-12)
BATCH, LAYERS, WIDTH = 4, 4, 8


def settings_of(*overrides: str, **changed: Any) -> dict[str, Any]:
    """The numbers of ``conf/objective/e4e.yaml``."""
    return preset("experiment=e4e", *overrides, target="E4eTraining", seed=3, **changed)


def make(*, multi_w=False, nimg=0, **settings):
    generator = tiny_generator(multi_w=multi_w)
    encoder = tiny_encoder(deltas=True)
    encoder.set_offset(generator.w_avg)
    torch.manual_seed(7)
    module = E4eTraining(
        generator=generator, encoder=encoder, perceptual=tiny_features(), **settings
    )
    module.clock.nimg = nimg
    return module


def encoder_loss(module: Any, x: Tensor, *, layers: int) -> tuple[Tensor, Tensor]:
    """What E pays, image by image, term by term."""
    e = module.encoder
    numbers = e.norm(e.dense(e.backbone(x).flatten(1))).view(len(x), LAYERS, WIDTH)
    delta = [numbers[:, i] if 0 < i < layers else 0 * numbers[:, i] for i in range(LAYERS)]
    w = torch.stack([numbers[:, 0] + d for d in delta], 1) + module.generator.w_avg
    y = module.generator.synthesis(w, noise="const")
    f_x, f_y = module.perceptual(x), module.perceptual(y)
    pixel = ((x - y) ** 2).mean()
    vgg = ((f_x - f_y) ** 2).mean()
    lengths = sum(((delta[i] ** 2).sum(1) ** 0.5).mean() for i in range(1, layers))
    fooled = latent_term(module.latent_adversary.network, w, layers=layers)
    loss = pixel + 0.3 * vgg + module.lambda_w * fooled + module.lambda_delta * lengths
    return loss, w.detach()


@pytest.mark.parametrize("multi_w", [False, True])
@pytest.mark.parametrize(("nimg", "layers"), [(0, 1), (60, 2), (68, 3), (400, 4)])
def test_both_steps_are_the_formulas(nimg, layers, multi_w):
    settings = settings_of(delta_start=60, delta_every=8)
    assert (settings["lambda_w"], settings["lambda_delta"]) == (0.1, 2e-4)
    assert (settings["r1_gamma"], settings["r1_every"], settings["pool_size"]) == (10.0, 16, 50)
    settings |= {"lambda_delta": 0.05}
    batches = image_batches(size=BATCH)
    (output,), record = _fit(make, fit, batches, nimg=nimg, multi_w=multi_w, **settings)

    reference = make(multi_w=multi_w, **settings).double()
    e, d_w = reference.encoder.train(), reference.latent_adversary.network
    loss_e, w = encoder_loss(reference, pixels(batches[0]), layers=layers)
    of_e = gradients(loss_e, e, "encoder")
    codes, layer = drawn_codes(reference.generator, count=BATCH, layers=layers, seed=3, nimg=nimg)
    gamma = 160.0 if (nimg // BATCH) % 16 == 0 else 0.0
    # The pools are being filled: everything comes back as it is.
    loss_w = latent_loss(d_w, of_layer(codes, layer), of_layer(w, layer), gamma=gamma)
    of_w = gradients(loss_w, d_w, "latent_adversary.network")

    torch.testing.assert_close(output["loss/encoder"], loss_e.detach(), **TIGHT)
    torch.testing.assert_close(output["loss/latent_discriminator"], loss_w.detach(), **TIGHT)
    assert ("loss/latent_r1" in output) is (gamma > 0)
    torch.testing.assert_close(record.gradients[0], of_e, **TIGHT)
    torch.testing.assert_close(record.gradients[1], of_w, **TIGHT)


def _fit(make: Any, fit: Any, batches: Any, **settings: Any) -> tuple[Any, Any]:
    record = fit(make(**settings), batches, precision="64-true")
    return record.outputs, record


def test_differences_are_let_go_by_images():
    module = make(**settings_of(delta_start=100, delta_every=10))
    stages = {}
    for nimg in (0, 99, 100, 109, 110, 119, 120, 5000):
        module.clock.nimg = nimg
        stages[nimg] = module.stage
    assert stages == {0: 0, 99: 0, 100: 1, 109: 1, 110: 2, 119: 2, 120: 3, 5000: 3}


def test_the_scales_give_the_schedule_its_images():
    mini = compose_plain("train", ["experiment=e4e"])
    share = [mini["objective"][key] / mini["nimg"] for key in ("delta_start", "delta_every")]
    assert share == [0.1, 0.01]  # as 20,000 and 2,000 of 200,000 steps
    full = compose_plain(
        "train",
        ["experiment=e4e", "scale=full", "generator=checkpoint", "generator.path=G"],
    )["objective"]
    assert (full["delta_start"], full["delta_every"]) == (20_000 * 8, 2_000 * 8)
    assert full["lr"] * full["w_lr_ratio"] == pytest.approx(2e-5)


def test_the_encoder_follows_the_stage():
    module = make(**settings_of(delta_start=4, delta_every=4))
    stages: list[int] = []
    module.on_before_optimizer_step = lambda optimizer: stages.append(
        int(module.encoder.unlocked.sum())
    )
    fit(module, image_batches(count=5, size=BATCH))
    assert stages == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    with torch.no_grad():
        codes = module.encoder.eval()(pixels(image_batches()[0]).float())
    assert (codes[:, 1:] - codes[:, :1]).abs().amax((0, 2)).min() > 0


def test_learning_rates_and_what_is_saved():
    module = make(**settings_of(lr=1e-3))
    of_e, of_w = module.configure_optimizers()
    assert of_e.defaults["lr"] == 1e-3 and of_w.defaults["lr"] == pytest.approx(
        2e-4 * 16 / 17
    )  # R1 is lazy
    assert list(module.trained_networks) == ["encoder", "latent_discriminator"]
    names = {name.split(".")[1] for name in module.state_dict() if name.startswith("latent_adv")}
    assert names == {"network", "real_pool", "fake_pool"}


def test_d_w_is_shown_older_codes_once_the_pool_is_full():
    module = make(**settings_of(pool_size=8))
    fit(module, image_batches(count=6, size=BATCH))
    pools = [module.latent_adversary.real_pool, module.latent_adversary.fake_pool]
    assert [pool.filled for pool in pools] == [8, 8]
    assert all(len(pool.codes.unique(dim=0)) == 8 for pool in pools)


def test_the_whole_code_is_the_other_input():
    settings = settings_of(w_input="whole", pool_size=0)
    module = make(multi_w=True, nimg=10**6 * BATCH, **settings)
    record = fit(module, image_batches(size=BATCH), precision="64-true")
    reference = make(multi_w=True, nimg=10**6 * BATCH, **settings).double()
    d_w = reference.latent_adversary.network
    assert d_w.architecture["features"] == LAYERS * WIDTH
    reference.encoder.train()
    w = reference.encoder(pixels(image_batches(size=BATCH)[0])).detach()
    codes, _ = drawn_codes(
        reference.generator, count=BATCH, layers=LAYERS, seed=3, nimg=10**6 * BATCH
    )
    loss = latent_loss(d_w, codes.flatten(1), w.flatten(1), gamma=160.0)
    torch.testing.assert_close(
        record.outputs[0]["loss/latent_discriminator"], loss.detach(), **TIGHT
    )


def test_truncated_codes_are_nearer_to_the_mean():
    pools = {}
    for psi in (1.0, 0.5):
        module = make(**settings_of(truncation=psi))
        fit(module, image_batches(size=BATCH))
        w_avg = module.generator.w_avg[0]
        pools[psi] = module.latent_adversary.real_pool.codes[:BATCH] - w_avg
    torch.testing.assert_close(pools[0.5], 0.5 * pools[1.0])


def test_errors():
    with pytest.raises(ConfigError, match=r"latent=deltas"):
        E4eTraining(
            generator=tiny_generator(), encoder=tiny_encoder(), perceptual=None, **settings_of()
        )
    with pytest.raises(ConfigError, match=r"w_input 'layers'.*objective\.w_input"):
        make(**settings_of(w_input="layers"))
