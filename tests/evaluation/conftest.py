"""A tiny real world: StyleGAN2, the base encoder and attribute network at 16 px, untrained."""

import csv
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from idinvert.data.domain import Attribute, Domain
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError
from idinvert.evaluation import manipulation, semantics, units
from idinvert.evaluation.context import EvaluationContext
from idinvert.inversion.encoder import EncoderInverter
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.networks.attributes import AttributeFeatures, AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone
from idinvert.networks.stylegan2 import StyleGAN2Generator

from .planted import Planted, ReadsSquares

R = 16
PROVENANCE = {"run": "abc", "choices": {"x": 1}, "nimg": 0, "seed": 5}


class Smooth(Dataset):
    """`count` smooth random images with two labels; image i is always the same."""

    def __init__(self, count, first_id=0, labelled=True):
        self.count, self.first_id, self.labelled = count, first_id, labelled

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        rng = torch.Generator().manual_seed(1000 + self.first_id + i)
        coarse = torch.rand(1, 3, 4, 4, generator=rng)
        fine = torch.nn.functional.interpolate(coarse, size=R, mode="bilinear")[0]
        item = {
            "image": (fine * 255).round().to(torch.uint8),
            "id": self.first_id + i,
            "name": f"{i:03d}.png",
        }
        labels = torch.tensor([float(coarse.mean() * 2 - 1), float(i % 2)])
        return item | ({"attributes": labels} if self.labelled else {})


@pytest.fixture(scope="session")
def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGAN2Generator(
            resolution=R, z_dim=8, w_dim=8, channels=[8, 8, 8], mapping_depth=1
        )
        backbone = BaseBackbone(resolution=R, channels=8, channels_max=8)
        encoder = Encoder(backbone=backbone, num_layers=generator.num_layers, w_dim=8)
        attributes = AttributeNetwork(
            resolution=R, kinds=["binary", "continuous"], names=["glasses", "light"], width=8,
            embedding=6,
        )  # fmt: skip
    for net in (generator, encoder, attributes):
        net.eval().requires_grad_(False)
    features = AttributeFeatures(network=attributes).eval()
    return SimpleNamespace(
        generator=generator, encoder=encoder, attributes=attributes, features=features
    )


@pytest.fixture
def in_domain(networks):
    """A maker of in-domain inverters."""

    def make(kind=InDomainInverter, **changes):
        choices = dict(lambda_vgg=0.1, steps=3, noise="random") | changes
        return kind(encoder=networks.encoder, perceptual=networks.features, **choices)

    return make


@pytest.fixture
def domain():
    return Domain(
        name="smooth",
        resolution=R,
        train=Smooth(4),
        val=Smooth(4, first_id=50),
        test=Smooth(10, first_id=100),
        fingerprint="00ff",
        attributes=(Attribute("light", "continuous"), Attribute("glasses", "binary")),
    )


@pytest.fixture(scope="session")
def cpu():
    return {"accelerator": "cpu", "devices": 1}


class Context(EvaluationContext):
    """A context whose folder and variants are the test's, and whose edits need no file."""

    out, variants, directions = None, MappingProxyType({}), MappingProxyType({})

    def folder(self, task, **options):
        return super().folder(task, **options) if self.out is None else self.out

    def open_images(self):
        return self.domain

    def variant(self, *entries, **values):
        found = [self.variants[e["label"]] for e in entries if e.get("label") in self.variants]
        return found[0] if found else self


class AnyEntry:
    """Takes whatever entries a test gives."""

    def check_methods(self, methods, *, key):
        if not methods:
            raise ConfigError(f"{key} is empty")


@pytest.fixture(autouse=True)
def directions_of_the_context(monkeypatch):
    for task in (manipulation, semantics):
        monkeypatch.setattr(task, "open_directions", lambda context, **_: dict(context.directions))


def only(records):
    """The one record of a task."""
    (record,) = records
    return record


def read(path):
    """The lines of a table."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grid_size(path):
    """About how many images a picture has across and down."""
    with Image.open(path) as picture:
        return picture.width // 96, picture.height // 96


@pytest.fixture
def subject(networks, domain, cpu, tmp_path):
    """A maker of contexts: the encoder alone on eight images, unless told otherwise."""

    def make(inverter=None, **changes):
        inverter = inverter or EncoderInverter(encoder=networks.encoder)
        method = changes.pop("method", inverter.settings["method"])
        config = dict(
            system={"outputs": str(tmp_path / "outputs"), "num_workers": 0}, trainer=cpu, seed=0,
            split="test", n=8, batch_size=3, recompute=False, images=None, run=None,
            perceptual={"network": None}, inversion={}, data={"resolution": R}, scale={},
            metric={"names": ["mse", "swd", "fd_attributes"], "lpips_path": None},
            reference="same",  # so that by_hand holds both sides; test_reference.py has the default
        )  # fmt: skip
        config |= {key: changes.pop(key) for key in list(changes) if key in config}
        opened = dict(
            inverter=inverter, method=method, generator=networks.generator,
            encoder=networks.encoder, perceptual=networks.features, domain=domain,
            attributes=networks.attributes, extractors={"attributes": networks.attributes},
            provenance=PROVENANCE | {"data": domain.name}, checkpoints={"generator": "12"},
            inversions=tmp_path / "inversions" / method,
        ) | changes  # fmt: skip
        return Context(config, entries=AnyEntry(), **opened)

    return make


@pytest.fixture
def by_hand(networks, domain):
    """Inputs [-1, 1], their uint8 originals and the encoder's codes of the first eight images."""
    items = [domain.test[i] for i in range(8)]
    reals = torch.stack([item["image"] for item in items])
    x = reals.double() / 127.5 - 1
    return SimpleNamespace(reals=reals, x=x.float(), codes=networks.encoder(x.float()), items=items)


@pytest.fixture
def rounded():
    """What a picture file would hold of float images: clamped, scaled and rounded."""
    return lambda images: (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)


@pytest.fixture
def directions():
    """Two directions for the tiny generator: one of all layers, one of a row a layer."""
    rng = torch.Generator().manual_seed(3)
    unit = torch.nn.functional.normalize
    return {
        "glasses": Direction("glasses", unit(torch.randn(1, 8, generator=rng)), None),
        "light": Direction("light", unit(torch.randn(6, 8, generator=rng)), (1, 2)),
    }


class Interrupted(EncoderInverter):
    """An encoder whose second batch is its last, as where the process is killed."""

    batches = 0

    def invert(self, images, **kw):
        self.batches += 1
        if self.batches == 2:
            raise KeyError("killed")
        return super().invert(images, **kw)


@pytest.fixture
def dies(networks):
    return Interrupted(encoder=networks.encoder)


@pytest.fixture
def planted(subject, monkeypatch):
    """A context on the planted generator; the segmenter's hash is noted as for any other."""

    def opened(context):
        context.checkpoints["segmenter"] = "34"
        return ReadsSquares()

    monkeypatch.setattr(units, "segmenter_of", opened)
    return lambda **changes: subject(generator=Planted(), batch_size=5, **changes)
