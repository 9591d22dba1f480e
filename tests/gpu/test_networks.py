"""Networks, losses, metrics and inversions on a GPU, against the CPU."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idinvert.acceleration import WARM_UP, StepGraphs, use_tf32
from idinvert.config.compose import compose_plain, config_dir
from idinvert.config.instantiate import build
from idinvert.evaluation.context import EvaluationContext
from idinvert.losses.terms import r1
from idinvert.metrics.suite import MetricSuite

from .reference import BOUNDS, DEVICE, difference

Measured = Callable[..., None]
SMALL = ("scale.resolution=32", "scale.channels=[32,32,16,16]", "scale.w_dim=32")
GENERATORS = [("stylegan", "false"), ("stylegan", "true"), ("stylegan2", "false")]
ENCODERS = sorted(path.stem for path in (config_dir() / "encoder").glob("*.yaml"))
INVERSIONS = sorted(
    path.stem for path in (config_dir() / "inversion").glob("*.yaml") if path.stem != "diffusion"
)  # diffusion is a task's


def mixed(precision: str) -> Any:
    """The arithmetic of a precision, as the Trainer sets it up."""
    use_tf32(precision == "tf32")
    return (
        torch.autocast(DEVICE, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    )


def on_both(
    network: nn.Module, work: Callable[[nn.Module, Tensor], tuple[Tensor, ...]], given: Tensor
) -> Callable[[str], list[float]]:
    """What differs between the CPU's and the GPU's results of `work`, by precision."""
    expected = work(network, given)

    def compared(precision: str) -> list[float]:
        with mixed(precision):
            got = work(network.to(DEVICE), given.to(DEVICE))
        return [difference(one, other) for one, other in zip(got, expected, strict=True)]

    return compared


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(("kind", "multi_w"), GENERATORS)
def test_generator(measured, kind, multi_w, precision):
    words = ["experiment=gan", f"generator={kind}", f"generator.multi_w={multi_w}", *SMALL]
    torch.manual_seed(0)
    generator: Any = build(compose_plain("train", words)["generator"], key="generator").eval()
    z = torch.randn(4, generator.z_dim)

    def work(g, z):
        w = g.mapping(z).detach().float().requires_grad_()
        images = g.synthesis(w, noise="const")
        (gradient,) = torch.autograd.grad(images.float().square().mean(), w)
        return images, gradient

    images, gradient = on_both(generator, work, z)(precision)
    measured("images", images, bound=BOUNDS[precision])
    measured("gradient", gradient, bound=4 * BOUNDS[precision])


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_discriminator_and_r1(measured, kind, precision):
    words = ["experiment=gan", f"generator={kind}", f"discriminator={kind}", *SMALL]
    torch.manual_seed(0)
    node = compose_plain("train", words)["discriminator"]["network"]
    network: Any = build(node, key="discriminator").train()
    images = torch.rand(4, 3, 32, 32) * 2 - 1

    def work(d, x):
        with torch.autocast(x.device.type, enabled=False):  # as training has it
            x = x.requires_grad_()
            logits = d(x)
            penalty = r1(logits, x).mean()
            gradients = torch.autograd.grad(penalty, [p for p in d.parameters() if p.ndim == 4])
        return logits, penalty, torch.cat([each.flatten() for each in gradients])

    logits, penalty, gradients = on_both(network, work, images)(precision)
    bound = BOUNDS["fp32" if precision == "bf16" else precision]
    measured("logits", logits, bound=bound)
    measured("penalty", penalty, bound=4 * bound)
    measured("its gradient", gradients, bound=8 * bound)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(measured, name, precision):
    words = [f"encoder={name}", *SMALL, "scale.encoder_channels=16"]
    node = compose_plain("train", words)["encoder"]
    torch.manual_seed(0)
    network: Any = build(
        node, key="encoder", num_layers=8, w_dim=32, latent="w_plus", offset=False, deltas=False,
        mapping=None, noise_shapes=[(s, s) for s in (4, 8, 8, 16, 16, 32, 32)],
    )  # fmt: skip
    network.train(precision != "bf16")  # statistics of a batch blow up what bfloat16 rounds
    # Images that differ at large: what normalises over a batch would blow up differences of noise.
    images = torch.nn.functional.interpolate(torch.rand(16, 3, 4, 4) * 2 - 1, size=32)

    def work(e, x):
        codes = e.encode(x).codes.float()
        weight = e.dense.weight if getattr(e, "dense", None) is not None else next(e.parameters())
        # A loss of its own for each number: BatchNorm takes out what all have in common.
        rng = torch.Generator().manual_seed(0)
        loss = (codes * torch.randn(codes.shape, generator=rng).to(codes)).mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        return codes, gradient

    codes, gradient = on_both(network, work, images)(precision)
    # BatchNorm divides by small deviations at up to fifty depths.
    measured("codes", codes, bound={"fp32": 2e-3, "tf32": 5e-2, "bf16": 2e-1}[precision])
    # On the CPU float32 and float64 already differ by 0.04 here (psp, at its initial weights).
    measured("gradient", gradient, bound=0.4 if precision == "bf16" else 0.2)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", INVERSIONS)
def test_inversion(measured, name, precision):
    words = [f"inversion={name}"]
    config = compose_plain("evaluate", words)
    if "steps" in config["inversion"]:
        config["inversion"]["steps"] = 5
    if "samples" in config["inversion"]:
        config["inversion"]["samples"] = 100
    setup = EvaluationContext(config)
    side = setup.generator.resolution
    with torch.no_grad():  # images that G can make, a little off
        z = torch.randn(2, setup.generator.z_dim, generator=torch.Generator().manual_seed(0))
        images = setup.generator.synthesis(setup.generator.mapping(z), noise="const").clamp(-1, 1)
    images = images.view(2, 3, side, side) * 0.9
    ids = torch.arange(2)
    here = setup.inverter.invert(images, generator=setup.generator, ids=ids)
    for network in (setup.generator, *setup.inverter.networks):
        network.to(DEVICE)
    with mixed(precision):
        there = setup.inverter.invert(images.to(DEVICE), generator=setup.generator, ids=ids)
    bound = {"fp32": 1e-3, "tf32": 2e-2, "bf16": 1e-1}[precision]
    bound *= 4 if name == "projector" else 1  # its steps are ten times as long
    measured("losses", difference(there.losses, here.losses), bound=bound)
    measured("images", difference(there.images, here.images), bound=bound)
    measured("codes", difference(there.codes, here.codes), bound=bound)


@pytest.mark.parametrize("name", [name for name in INVERSIONS if name != "encoder"])
def test_replayed_inversion_is_the_eager_one(measured, monkeypatch, name):
    replays: list[Any] = []
    replay = StepGraphs._replay
    monkeypatch.setattr(
        StepGraphs, "_replay", lambda self, *given: replays.append(1) or replay(self, *given)
    )
    # Otherwise cuDNN may choose kernels that add in another order, also from one call to the next.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    found = []
    for graphs in ("false", "false", "true"):
        words = [f"inversion={name}", "inversion.steps=12", f"system.cuda_graphs={graphs}"]
        words += ["inversion.samples=100"] if name == "projector" else []
        setup = EvaluationContext(compose_plain("evaluate", words))
        for network in (setup.generator, *setup.inverter.networks):
            network.to(DEVICE)
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        x, ids = images.to(DEVICE), torch.arange(2)
        found.append(setup.inverter.invert(x, generator=setup.generator, ids=ids))
    assert len(replays) == (12 - WARM_UP if DEVICE == "cuda" else 0)
    again = difference(found[1].codes, found[0].codes)
    measured("codes, eagerly once more", again, bound=None)
    measured("losses", difference(found[2].losses, found[0].losses), bound=1e-4)
    measured("codes", difference(found[2].codes, found[0].codes), bound=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpointed_inversion_is_the_plain_one(measured, monkeypatch, precision):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    images = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found, peaks = [], []
    for again in ("false", "true"):
        words = ["inversion=in_domain", "inversion.steps=5"]
        words += [f"system.checkpoint_activations={again}"]
        setup = EvaluationContext(compose_plain("evaluate", words))
        for network in (setup.generator, *setup.inverter.networks):
            network.to(DEVICE)
        with mixed(precision):
            if DEVICE == "cuda":
                torch.cuda.reset_peak_memory_stats()
            found.append(setup.inverter.invert(images.to(DEVICE), generator=setup.generator))
            peaks.append(torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0)
    measured("losses", difference(found[1].losses, found[0].losses), bound=1e-5)
    measured("codes", difference(found[1].codes, found[0].codes), bound=1e-4)
    measured("peak memory, a share", peaks[1] / max(peaks[0], 1), bound=1.0)


@pytest.mark.parametrize("name", ["mse", "psnr", "ssim", "swd", "fd_attributes", "kd_attributes"])
def test_metric(measured, name):
    setup = EvaluationContext(compose_plain("evaluate", []))
    rng = torch.Generator().manual_seed(0)
    targets = torch.rand(64, 3, 32, 32, generator=rng) * 2 - 1
    outputs = (targets + 0.2 * torch.randn(targets.shape, generator=rng)).clamp(-1, 1)
    found = {}
    for device in ("cpu", DEVICE):
        extractors = {"attributes": setup.attributes.to(device)}
        suite = MetricSuite(names=[name], extractors=extractors, device=torch.device(device))
        suite.update(outputs.to(device), targets.to(device))
        found[device] = torch.tensor(list(suite.values().metrics.values()), dtype=torch.float64)
    measured(name, difference(found[DEVICE], found["cpu"]), bound=1e-3)
