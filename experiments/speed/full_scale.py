"""Costs at the paper's scale: inversion compared with the usual implementation, training, metrics.

    python experiments/speed/full_scale.py --device cuda --record experiments/speed/records.jsonl
    python experiments/speed/full_scale.py --stages inversion --batch 1,4 scale.resolution=64
    python experiments/speed/full_scale.py --device cuda --stages gan --batch 64 scale=miniature

Networks are untrained: they are as fast as trained ones, and no file is needed. On a GPU it
measures float32, TF32 and bfloat16 (``bf16+tf32``: operations that stay float32 use TF32). Each
line of the record is one measurement: its name, repeats, seconds, images per second, FLOPs and
their fraction of the machine's own matrix products, peak memory.

The usual implementation (``--variants usual``) is that of common inversion programs: one image at a
time, weights that require gradients, the target's features recomputed at every step.
"""

import argparse
import contextlib
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from bench import arguments, keep, numbers, prepare, timed, wait
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Inception
from train_step import fit

from idinvert.acceleration import compile_networks, use_tf32
from idinvert.cli.devices import accelerate, quieten_lightning
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.metrics import fidelity
from idinvert.metrics.fidelity import InceptionDistance
from idinvert.metrics.swd import swd
from idinvert.networks.perceptual import VGG16Features
from idinvert.training.domain_guided import DomainGuidedTraining

STAGES = ("matmul", "inversion", "encoder", "gan", "metrics")
PRECISIONS = ("fp32", "tf32", "bf16")
GIB = 2**30
SIDE = 8192
"""Side of the matrices whose product gives the machine's rate; an eighth of it on a CPU."""


class Span(pl.Callback):
    """Seconds of all steps except the first ones; waits for the device only at both ends."""

    def __init__(self, device: str, *, warm_up: int, steps: int) -> None:
        self.device, self.warm_up, self.steps = device, warm_up, steps
        self.seconds = self.cpu = 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        """Starts the time after the warm-up."""
        if index == self.warm_up:
            wait(self.device)
            self.begin, self.began = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, trainer: Any, module: Any, *given: Any) -> None:
        """Stops the time after the last step."""
        if given[-1] == self.warm_up + self.steps - 1:
            wait(self.device)
            self.seconds = time.perf_counter() - self.begin
            self.cpu = time.process_time() - self.began


class Bench:
    """Runs measurements and keeps their results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, options.device
        self.rates: dict[str, float] = {}  # FLOPs per second of a matrix product, by precision
        self.deadline = time.monotonic() + options.limit

    def measure(
        self,
        what: str,
        work: Callable[[], Any],
        *,
        images: int,
        precision: str,
        flops: float | None = None,
        worth: float = 1.0,
        repeats: int | None = None,
        warm_up: Callable[[], Any] | None = None,
        **facts: Any,
    ) -> float | None:
        """Times calls of `work` after one warm-up call; keeps a line; returns median seconds.

        Args:
            what: Name of the measurement.
            work: The function to time.
            images: Images per call.
            precision: See `PRECISIONS`.
            flops: FLOPs per call.
            worth: Steps per call; results are per step.
            repeats: Timed calls; None for the option's.
            warm_up: Function of the warm-up call, if not `work`.
            facts: Additional entries of the line.
        """
        if time.monotonic() > self.deadline:
            print(f"{what:34s} {facts}: left out, --limit has passed", flush=True)
            return None
        row: dict[str, Any] = {"what": what, "precision": precision, "images": images, **facts}
        try:
            with arithmetic(precision, self.device):
                (warm_up or work)()
                if self.device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                seconds, cpu = [], []
                for _ in range(repeats or self.options.repeats):
                    took = timed(work, self.device)
                    seconds.append(took[0] / worth)
                    cpu.append(took[1] / worth)
        except RuntimeError as error:  # out of memory belongs in the table
            row["error"] = str(error).strip().splitlines()[0][:200]
            self.keep(row)
            return None
        median = statistics.median(seconds)
        row |= {"seconds": median, "fastest": min(seconds), "slowest": max(seconds)}
        row |= {"cpu_seconds": statistics.median(cpu), "repeats": len(seconds)}
        row["images_per_second"] = images / median
        if flops is not None:
            row |= {"gflop": flops / worth / 1e9, "tflops": flops / worth / median / 1e12}
            if precision in self.rates:
                row["share_of_matmul"] = flops / worth / median / self.rates[precision]
        if self.device == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
        self.keep(row)
        return median

    def keep(self, row: dict[str, Any]) -> None:
        """Prints a result, and appends it to the record."""
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        print(" ".join(f"{key}={value}" for key, value in shown.items()), flush=True)
        limit = self.options.memory
        keep(row if limit is None else row | {"memory_limit_gib": limit}, self.options)


@contextlib.contextmanager
def arithmetic(precision: str, device: str) -> Any:
    """Context with the arithmetic of a precision, as set up by the programs."""
    use_tf32("tf32" in precision)
    with torch.autocast(device, torch.bfloat16, enabled="bf16" in precision):
        yield
    use_tf32(False)


def flops_of(work: Callable[[], Any]) -> float:
    """Returns the floating-point operations of one call; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


class Networks:
    """Untrained G, D, E and F of a configuration, on a device."""

    def __init__(self, overrides: Sequence[str], *, device: str) -> None:
        words = ["experiment=gan", "generator=stylegan", "discriminator=stylegan"]
        config = compose_plain("train", [*words, "generator.multi_w=true", *overrides])
        self.config = config
        torch.manual_seed(0)
        self.generator: Any = build(config["generator"], key="generator").eval().to(device)
        self.discriminator = build(config["discriminator"]["network"], key="discriminator")
        self.discriminator.to(device)
        of_encoder = [word for word in overrides if not word.startswith("generator")]
        node = compose_plain("train", of_encoder)["encoder"]
        self.encoder: Any = build(
            node,
            key="encoder",
            num_layers=self.generator.num_layers,
            w_dim=self.generator.w_dim,
            latent="w_plus",
            offset=False,
            deltas=False,
            mapping=None,
            noise_shapes=self.generator.noise_shapes,
        ).to(device)
        with torch.no_grad():  # activations of an untrained VGG16 would vanish
            resize = None if self.generator.resolution <= 256 else 256  # like the trained one
            self.perceptual = VGG16Features(resize=resize).eval().to(device)
            for layer in self.perceptual.features:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)

    def images(self, count: int) -> Tensor:
        """Returns noise in place of images, ``[count, 3, R, R]`` in [-1, 1]."""
        rng = torch.Generator().manual_seed(count)
        side = self.generator.resolution
        images = torch.rand(count, 3, side, side, generator=rng) * 2 - 1
        return images.to(self.generator.w_avg.device)


def as_usual(networks: Networks, image: Tensor, *, steps: int) -> None:
    """Runs Eq. (4) for one image, as implemented in common inversion programs."""
    generator, encoder, features = networks.generator, networks.encoder, networks.perceptual
    x = image[:1]
    with torch.no_grad():
        code = encoder(x).float()
    code = code.clone().requires_grad_()
    optimizer = torch.optim.Adam([code], lr=0.01)
    for _ in range(steps):
        shown = generator.synthesis(code, noise="const")
        loss = (x - shown).square().mean()
        loss = loss + 5e-5 * (features(x) - features(shown)).float().square().mean()
        loss = loss + 2.0 * (code - encoder(shown)).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for network in (generator, encoder, features):
            network.zero_grad(set_to_none=True)


def measure_matmul(bench: Bench) -> None:
    """Measures the rate of a large product of two square matrices of random numbers."""
    side = SIDE if bench.device == "cuda" else SIDE // 8
    for precision in bench.options.precision:
        dtype = torch.bfloat16 if "bf16" in precision else torch.float32
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        count = 2 if precision == "fp32" else 10
        seconds = bench.measure(
            "matmul",
            lambda a=a, b=b, count=count: [a @ b for _ in range(count)],
            images=0,
            precision=precision,
            flops=2.0 * side**3 * count,
            worth=count,
            side=side,
        )
        if seconds is not None:
            bench.rates[precision] = 2.0 * side**3 / seconds


def measure_inversion(bench: Bench) -> None:
    """Measures steps of Eq. (4): the usual implementation, ours, and ours with `system` options."""
    steps = bench.options.steps
    for precision in bench.options.precision:
        networks = Networks(bench.options.overrides, device=bench.device)
        for network in (networks.generator, networks.encoder.eval(), networks.perceptual):
            network.requires_grad_(True)
        facts: dict[str, Any] = {"precision": precision, "resolution": networks.images(1).shape[-1]}
        facts |= {"generator": type(networks.generator).__name__}
        if "usual" in bench.options.variants:
            x = networks.images(1)
            flops = flops_of(lambda n=networks, x=x: as_usual(n, x, steps=1))
            bench.measure(
                "inversion, as usual",
                lambda n=networks, x=x: as_usual(n, x, steps=steps),
                images=1,
                flops=flops * steps,
                worth=steps,
                **facts,
            )
        for network in (networks.generator, networks.encoder, networks.perceptual):
            network.requires_grad_(False)
        for variant in ours(bench):
            _measure_ours(bench, networks, variant, facts)


def ours(bench: Bench) -> list[str]:
    """Returns the variants other than the usual implementation."""
    return [variant for variant in bench.options.variants if variant != "usual"]


def flops_of_a_step(networks: Networks) -> float:
    """Returns the minimum FLOPs of one evaluation of Eq. (4) and its gradient for one image."""
    x = networks.images(1)
    with torch.no_grad():
        target = networks.perceptual(x)
        code = networks.encoder(x).float()
    code.requires_grad_()

    def step() -> None:
        shown = networks.generator.synthesis(code, noise="const")
        loss = (x - shown).square().mean() + (code - networks.encoder(shown)).square().mean()
        loss = loss + (target - networks.perceptual(shown)).square().mean()
        loss.backward()

    return flops_of(step)


def _measure_ours(bench: Bench, networks: Networks, variant: str, facts: dict[str, Any]) -> None:
    synthesis = networks.generator.synthesis
    synthesis.checkpoint_activations = False
    steps, flops = bench.options.steps, flops_of_a_step(networks)
    synthesis.checkpoint_activations = "checkpoint" in variant
    if "compile" in variant:
        compile_networks(
            (networks.encoder.backbone, networks.perceptual, networks.generator.synthesis)
        )
    for count in bench.options.batch:
        x, ids = networks.images(count), torch.arange(count)

        def invert(steps: int, x: Tensor = x, ids: Tensor = ids) -> None:
            inverter = InDomainInverter(
                encoder=networks.encoder, perceptual=networks.perceptual, steps=steps
            )
            inverter.cuda_graphs = "graphs" in variant
            inverter.invert(x, generator=networks.generator, ids=ids)

        bench.measure(
            f"inversion, {variant}",
            lambda invert=invert: invert(steps),
            images=count,
            flops=flops * count * steps,
            worth=steps,
            **facts,
        )


def measure_encoder(bench: Bench) -> None:
    """Measures training steps of E against D (Eq. 2 and 3), including the optimisers."""
    for precision in bench.options.precision:
        for variant in ours(bench):
            for count in bench.options.batch:
                networks = Networks(bench.options.overrides, device="cpu")
                config = compose_plain("train", _of_training(bench, precision, variant, count))
                objective = {k: v for k, v in config["objective"].items() if k != "_target_"}
                module = DomainGuidedTraining(
                    generator=networks.generator,
                    discriminator=networks.discriminator,
                    encoder=networks.encoder,
                    perceptual=networks.perceptual,
                    seed=0,
                    **objective
                    | {"lambda_vgg": 5e-5, "schedule": build(objective["schedule"], key="s")},
                )
                _measure_training(bench, "encoder training", module, config, precision, variant)
                del networks, module


def measure_gan(bench: Bench) -> None:
    """Measures training steps of G and D."""
    for precision in bench.options.precision:
        for variant in ours(bench):
            if "compile" in variant:  # D is differentiated twice, and G is the smaller part
                continue
            for count in bench.options.batch:
                words = ["experiment=gan", *_of_training(bench, precision, variant, count)]
                config = compose_plain("train", words)
                torch.manual_seed(0)
                objective = dict(config["objective"])
                module = build(
                    objective,
                    key="objective",
                    generator=build(config["generator"], key="generator"),
                    discriminator=build(config["discriminator"]["network"], key="discriminator"),
                    seed=0,
                )
                _measure_training(bench, "GAN training", module, config, precision, variant)


def _of_training(bench: Bench, precision: str, variant: str, count: int) -> list[str]:
    return [
        *bench.options.overrides,
        f"batch_size={count}",
        f"trainer.precision={'bf16-mixed' if 'bf16' in precision else '32-true'}",
        f"system.compile={'compile' in variant}",
        f"system.cuda_graphs={'graphs' in variant}",
        f"system.checkpoint_activations={'checkpoint' in variant}",
    ]


def _measure_training(
    bench: Bench, what: str, module: Any, config: dict[str, Any], precision: str, variant: str
) -> None:
    """Times whole steps under the Trainer; the first ones warm up and record CUDA graphs."""
    accelerate(module, config)
    side, count = module.generator.resolution, config["batch_size"]
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), generator=rng, dtype=torch.uint8)
    steps = bench.options.train_steps
    warm_up = 1
    if bench.device == "cuda":  # until kernels are chosen, and every kind of step is recorded
        warm_up = 20 if getattr(module, "r1_every", 1) > 1 else 5

    if time.monotonic() > bench.deadline:
        print(f"{what} {variant} {precision}: left out, --limit has passed", flush=True)
        return
    row = {"what": f"{what}, {variant}", "precision": precision, "images": count}
    row |= {"resolution": side, "generator": type(module.generator).__name__}
    if bench.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clock = Span(bench.device, warm_up=warm_up, steps=steps)
    use_tf32("tf32" in precision)
    try:
        fit(module, images, config["trainer"], clock, device=bench.device, steps=warm_up + steps)
    except RuntimeError as error:
        bench.keep(row | {"error": str(error).strip().splitlines()[0][:200]})
        return
    seconds = clock.seconds / steps
    row |= {"seconds": seconds, "cpu_seconds": clock.cpu / steps, "repeats": steps}
    row["images_per_second"] = count / seconds
    if bench.device == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    bench.keep(row)


def measure_metrics(bench: Bench) -> None:
    """Measures FID through Inception (untrained) and SWD of two sets of n images."""
    count, side = bench.options.pairs, bench.options.side
    rng = torch.Generator(bench.device).manual_seed(0)
    pixels = {"generator": rng, "dtype": torch.uint8, "device": bench.device}
    sets = [torch.randint(0, 256, (count, 3, side, side), **pixels).cpu() for _ in range(2)]
    where = {"resolution": side, "precision": "fp32", "repeats": 1}
    bench.measure(
        "SWD",
        lambda: swd(sets[0], sets[1], device=torch.device(bench.device)),
        images=count,
        warm_up=lambda: swd(sets[0][:64], sets[1][:64], device=torch.device(bench.device)),
        **where,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        _untrained_inception(path)
        fidelity.INCEPTION_SHA256 = hashlib.sha256(path.read_bytes()).hexdigest()
        fid = InceptionDistance(["fid"], path=path, cuda=bench.device == "cuda")
        bench.measure(
            "FID",
            lambda: fid.between(*sets),
            images=count,
            warm_up=lambda: fid.embed(sets[0][:64]),
            **where,
        )


def _untrained_inception(path: Path) -> None:
    """Writes a file of Inception's layout with random weights, as fast as the real one."""

    skeleton = Inception.__new__(Inception)
    with (
        mock.patch.object(Inception, "load_state_dict", lambda *_: None),
        mock.patch("torch.load", lambda *_, **__: None),
    ):
        skeleton.__init__("inception", ["2048"], feature_extractor_weights_path="none")
    state = skeleton.state_dict()
    for weight in state.values():
        if weight.ndim == 4:
            nn.init.kaiming_normal_(weight)
    torch.save(state, path)


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, repeats=3)
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--stages", type=words, default=list(STAGES))
    parser.add_argument(
        "--precision", type=words, help="of fp32,tf32,bf16,bf16+tf32; fp32 on a CPU"
    )
    parser.add_argument(
        "--variants",
        type=words,
        default=["usual", "eager"],
        help="usual, or of eager,graphs,compile,checkpoint, several joined by +; compile last",
    )
    parser.add_argument("--batch", type=numbers, default=[1, 4, 16], help="images together")
    parser.add_argument("--steps", type=int, default=4, help="inversion steps of one turn")
    parser.add_argument("--train-steps", type=int, default=16, help="training steps that count")
    parser.add_argument("--pairs", type=int, default=5000, help="images of a set, for metrics")
    parser.add_argument("--side", type=int, default=256, help="their pixels")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds; the rest is left out")
    parser.add_argument("--memory", type=float, help="GiB of a GPU's memory that may be used")
    options = parser.parse_args()
    if not any(word.startswith("scale=") for word in options.overrides):
        options.overrides.insert(0, "scale=full")
    on_gpu = options.device == "cuda"
    options.precision = options.precision or (list(PRECISIONS) if on_gpu else ["fp32"])
    prepare(options)
    if on_gpu and options.memory is not None:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(options.memory * GIB / whole)
    quieten_lightning()
    bench = Bench(options)
    stages = {
        "matmul": measure_matmul,
        "inversion": measure_inversion,
        "encoder": measure_encoder,
        "gan": measure_gan,
        "metrics": measure_metrics,
    }
    for stage in options.stages:
        stages[stage](bench)


if __name__ == "__main__":
    main()
