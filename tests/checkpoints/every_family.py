"""A tiny file of every checkpoint family, as its publisher's code would write it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.checkpoints import tiny
from tests.checkpoints.families import (
    genforce_stylegan2_files,
    idinvert_encoder_files,
    nvlabs_files,
    psp_encoders_files,
    rosinality_files,
    stylegan_files,
    tf_stylegan2_files,
)
from tests.checkpoints.hostile.foreign import pickled


class Sample(NamedTuple):
    """How a file is made, and what is in it."""

    family: str
    roles: tuple[str, ...]
    write: Callable[[Path], object]


G, D, E = "generator", "discriminator", "encoder"


def _nvlabs(path: Path) -> None:
    made = nvlabs_files.NVlabs(channels=(5, 4, 3))
    content = {
        "G": made.stored({name: value + 1 for name, value in made.g.items()}, name="Generator"),
        "G_ema": made.stored(made.g, name="Generator"),
        "D": made.stored(made.d, name="Discriminator"),
        "augment_pipe": None,
        "training_set_kwargs": {"resolution": 16},
    }
    path.write_bytes(pickled(content))


def wrapped(kind: str) -> dict[str, Any]:
    """What a file of e4e or pSp holds: a decoder of rosinality's and an encoder."""
    decoder = rosinality_files.Rosinality(style_dim=6)
    encoder = psp_encoders_files.encoder_state(kind, num_layers=6, w_dim=6)
    return {
        "state_dict": {f"decoder.{name}": value for name, value in decoder.g.items()}
        | {f"encoder.{name}": value for name, value in encoder.items()},
        "latent_avg": decoder.latent_avg.expand(6, 6).clone(),
        "opts": psp_encoders_files.options(kind, stylegan_size=16, output_size=16),
    }


def _lightning(path: Path) -> None:
    tiny.lightning(path.parent / "run", named=True, resolution=16).rename(path)


SAMPLES = {
    "nvlabs": Sample("nvlabs", (G, D), _nvlabs),
    "nvlabs_plain": Sample(
        "nvlabs", (G, D), lambda path: torch.save(nvlabs_files.NVlabs().plain(), path)
    ),
    "rosinality": Sample(
        "rosinality",
        (G, D),
        lambda path: torch.save(rosinality_files.Rosinality().content(), path),
    ),
    "genforce_stylegan": Sample(
        "genforce-stylegan",
        (G, D),
        lambda path: torch.save(stylegan_files.Genforce().content(), path),
    ),
    "hammer_stylegan": Sample(
        "genforce-stylegan",
        (G, D),
        lambda path: torch.save(stylegan_files.Genforce(hammer=True).content(nested=True), path),
    ),
    "genforce_stylegan2": Sample(
        "genforce-stylegan2",
        (G, D),
        lambda path: torch.save(genforce_stylegan2_files.Genforce(hammer=False).content(), path),
    ),
    "hammer_stylegan2": Sample(
        "genforce-stylegan2",
        (G, D),
        lambda path: torch.save(genforce_stylegan2_files.Genforce(hammer=True).content(), path),
    ),
    "idinvert_generator": Sample(
        "idinvert-pytorch",
        (G,),
        lambda path: torch.save(stylegan_files.Idinvert().g, path),
    ),
    "idinvert_encoder": Sample(
        "idinvert-pytorch",
        (E,),
        lambda path: torch.save(idinvert_encoder_files.IdinvertEncoder("B").e, path),
    ),
    "e4e": Sample(
        "encoder4editing",
        (G, E),
        lambda path: torch.save(wrapped("Encoder4Editing"), path),
    ),
    "psp": Sample(
        "encoder4editing",
        (G, E),
        lambda path: torch.save(wrapped("GradualStyleEncoder"), path),
    ),
    "tf_stylegan": Sample(
        "tf-stylegan",
        (G, D),
        lambda path: path.write_bytes(pickled(stylegan_files.TFStyleGAN().content())),
    ),
    "tf_stylegan2": Sample(
        "tf-stylegan2",
        (G, D),
        lambda path: path.write_bytes(pickled(tf_stylegan2_files.TFStyleGAN2().content())),
    ),
    "tf_idinvert_a": Sample(
        "tf-idinvert",
        (G, D, E),
        lambda path: path.write_bytes(pickled(idinvert_encoder_files.tuple_of("A"))),
    ),
    "tf_idinvert_c": Sample(
        "tf-idinvert",
        (G, D, E),
        lambda path: path.write_bytes(pickled(idinvert_encoder_files.tuple_of("C"))),
    ),
    "lightning": Sample("lightning", (G, D), _lightning),
}
"""All at 16 px."""


def write(name: str, path: Path) -> Path:
    """Writes a sample's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    SAMPLES[name].write(path)
    return path
