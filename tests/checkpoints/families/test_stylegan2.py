"""StyleGAN2 in every layout: the originals' images and logits in float64, and every tensor's place.

Each family's file is written as its publisher's code would, and its networks are computed a second
time by literal formulas (``*_files.py``).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce, nvlabs, rosinality, tf_stylegan2
from idinvert.checkpoints.families.family import Family

from .checks import (
    KEY,
    Tensors,
    archive,
    check_discriminator,
    check_every_key_is_named,
    check_every_tensor_counts,
    check_generator,
    rebuilt,
    whole,
)
from .genforce_stylegan2_files import Genforce
from .nvlabs_files import NVlabs
from .reference import double, normal
from .rosinality_files import Rosinality
from .tf_stylegan2_files import TFStyleGAN2


def _pickled(files: NVlabs, g: Tensors, d: Tensors) -> Any:
    networks = {
        "G": None,
        "D": files.stored(d, name="Discriminator"),
        "G_ema": files.stored(g, name="Generator"),
    }
    return networks | {"augment_pipe": None, "training_set_kwargs": {"path": "a.zip"}}


def _genforce(files: Genforce, g: Tensors, d: Tensors) -> Any:
    content = files.content()
    content.get("models", content).update(generator_smooth=g, discriminator=d)
    return content


class Layout(NamedTuple):
    """A family, what makes its networks, and a file's content of the tensors of G and D."""

    family: Family
    make: Callable[..., Any]
    content: Callable[[Any, Tensors, Tensors], Any]


LAYOUTS = {
    "nvlabs": Layout(nvlabs.FAMILY, NVlabs, lambda f, g, d: f.plain() | {"G_ema": g, "D": d}),
    "nvlabs, pickled": Layout(nvlabs.FAMILY, NVlabs, _pickled),
    "rosinality": Layout(
        rosinality.FAMILY, Rosinality, lambda f, g, d: f.content() | {"g_ema": g, "d": d}
    ),
    "genforce": Layout(genforce.STYLEGAN2, Genforce, _genforce),
    "tensorflow": Layout(
        tf_stylegan2.FAMILY,
        TFStyleGAN2,
        lambda f, g, d: (f.generator(f.g), f.discriminator(d), f.generator(g)),
    ),
}
SKIP_RESNET: dict[str, Any] = {"arch_g": "resnet", "arch_d": "skip"}
NVLABS: list[dict[str, Any]] = [
    {},
    SKIP_RESNET,
    {"arch_g": "orig", "arch_d": "orig"},
    {"clamp": 0.7},
    {**SKIP_RESNET, "clamp": 0.7},
    {"c_dim": 3},
    {"c_dim": 2, "depth": 1, "cmap_depth": 0},
    {"depth": 8, "group": None},
    {"noise": False},
    {"channels": (4, 3), "fc_width": 9},
]
CASES: dict[str, list[dict[str, Any]]] = {
    "nvlabs": NVLABS,
    "nvlabs, pickled": NVLABS,
    "rosinality": [
        {},
        {"channels": (4, 3), "fc_width": 9},
        {"depth": 8},
        {"depth": 1, "channels": (3, 4, 2, 2)},
    ],
    "genforce": [
        {"hammer": False},
        {"hammer": False, "arch_d": "skip"},
        {"hammer": False, "arch_g": "origin", "arch_d": "origin"},
        {"hammer": False, "repeat_w": False},
        {"hammer": False, "channels": (4, 3), "depth": 8, "fc_width": 9},
        {"hammer": True},
        {"hammer": True, **SKIP_RESNET},
        {"hammer": True, "arch_g": "origin", "arch_d": "origin"},
        {"hammer": True, "clamp": 0.7},
        {"hammer": True, "c_dim": 3},
        {"hammer": True, "repeat_w": False, "depth": 1},
    ],
    "tensorflow": [
        {},
        {"ada": False, "group": "default"},
        {"group": "default"},
        SKIP_RESNET,
        {"arch_g": "orig", "arch_d": "orig"},
        {"ada": False, "arch_g": "grown", "arch_d": "grown"},  # configurations B to D
        {"clamp": 0.7},
        {"arch_g": "resnet", "clamp": 0.7},
        {"c_dim": 3},
        {"channels": (4, 3), "depth": 8, "fc_width": 9},
    ],
}
MEANS = ("mapping.w_avg", "w_avg", "truncation.w_avg", "dlatent_avg")


def read(name: str, files: Any, g: Tensors, d: Tensors) -> Checkpoint:
    layout = LAYOUTS[name]
    file = archive(layout.content(files, g, d))
    assert layout.family.recognise(file)
    return whole(layout.family.read(file, key=KEY))


@pytest.mark.parametrize("name", CASES)
def test_images_and_logits_are_the_originals(name):
    for case in CASES[name]:
        files = LAYOUTS[name].make(**case)
        found = read(name, files, files.g, files.d)
        g, d, native = double(files.g), double(files.d), found.generator
        check_generator(
            native,
            synthesis=lambda w, files=files, g=g: files.synthesis(g, w),
            mapping=lambda *z, files=files, g=g: files.mapping(g, *z),
        )
        check_discriminator(found.discriminator, lambda *x, files=files, d=d: files.judge(d, *x))
        mean = next((files.g[key] for key in MEANS if key in files.g), None)
        mean = torch.as_tensor(files.latent_avg if mean is None else mean)
        assert found.latent_avg is not None
        assert torch.equal(found.latent_avg.flatten(), mean.flatten())
        rows = mean.reshape(-1, native.w_dim).expand_as(native.w_avg)
        assert torch.equal(native.w_avg, rows)
        assert native.multi_w is not getattr(files, "repeat_w", True)
        assert native.architecture["channels"] == list(files.channels)
        assert found.encoder is None


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("nvlabs", {"arch_g": "skip", "arch_d": "skip", "c_dim": 2}),
        ("nvlabs", {"arch_g": "resnet", "arch_d": "resnet", "c_dim": 2}),
        ("nvlabs", {"arch_g": "orig", "arch_d": "orig", "c_dim": 2}),
        ("rosinality", {"depth": 2}),
        ("genforce", {"hammer": False, "arch_d": "skip"}),
        ("genforce", {"hammer": False, "arch_g": "origin"}),
        ("genforce", {"hammer": True, "arch_g": "resnet"}),
        ("genforce", {"hammer": True, "arch_d": "skip", "c_dim": 2}),
        ("tensorflow", {"arch_g": "skip", "arch_d": "skip", "c_dim": 2}),
        ("tensorflow", {"arch_g": "resnet", "arch_d": "resnet"}),
        ("tensorflow", {"arch_g": "grown", "arch_d": "grown"}),
    ],
)
def test_every_tensor_counts(name, case):
    files = LAYOUTS[name].make(**{"channels": (4, 3)} | case)
    whole = read(name, files, files.g, files.d).generator
    w, z = normal(2, 4, whole.w_dim, seed=1).double(), normal(2, whole.z_dim, seed=2).double()
    c = (normal(2, whole.c_dim, seed=3).double(),) if whole.c_dim else ()
    x = normal(2, 3, 8, 8, seed=4).double()

    def images(tensors):
        native = rebuilt(read(name, files, tensors, files.d).generator)
        p = double(tensors)
        codes = files.mapping(p, z, *c)[:, None] + w
        return native.synthesis(native.mapping(z, *c) + w), files.synthesis(p, codes)

    def logits(tensors):
        native = rebuilt(read(name, files, files.g, tensors).discriminator)
        return native(x, *c), files.judge(double(tensors), x, *c)

    def fixed(tensors):
        """Filters and mean codes, and what only growing needed."""
        ends = ("kernel", "filter", "lod", *MEANS)
        return [name for name in tensors if name.endswith(ends) or "_lod1" in name]

    check_every_tensor_counts(files.g, images, fixed=fixed(files.g))
    check_every_tensor_counts(files.d, logits, fixed=fixed(files.d))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("nvlabs", {"arch_g": "skip", "arch_d": "skip", "c_dim": 2}),
        ("nvlabs, pickled", {"arch_g": "resnet", "arch_d": "resnet", "c_dim": 2}),
        ("nvlabs", {"arch_g": "orig", "arch_d": "orig", "c_dim": 2}),
        ("rosinality", {"depth": 2}),
        ("genforce", {"hammer": True, "c_dim": 2}),
        ("genforce", {"hammer": False}),
        ("tensorflow", {"arch_g": "skip", "arch_d": "skip", "c_dim": 2}),
        # With one shortcut alone, a network without it is a plain one.
        ("tensorflow", {"arch_g": "resnet", "arch_d": "resnet", "channels": (4, 3, 2)}),
    ],
)
def test_every_key_is_named(name, case):
    files = LAYOUTS[name].make(**{"channels": (4, 3)} | case)
    check_every_key_is_named(files.g, lambda tensors: read(name, files, tensors, files.d))
    check_every_key_is_named(files.d, lambda tensors: read(name, files, files.g, tensors))
