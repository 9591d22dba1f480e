"""What the record of a table's row says of choices that the row leaves at their defaults."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.cli.assemble import choices_of
from idinvert.cli.run_defaults import KINDS
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.evaluation import networks as wire
from idinvert.evaluation.networks import room_name
from idinvert.results.select import leaves
from idinvert.results.spec import ANY, NO_CHOICES

PLACEHOLDER = "FILE_OF_"
"""In the commands of full scale, a generator's file: ``FILE_OF_stylegan_multi_w``."""


def expected_choices(train: Sequence[str], evaluate: Sequence[str]) -> dict[str, Any]:
    """The choices that records of a training and an evaluation carry, by dotted path.

    They are those of the composed configurations, by the functions that write them into records, so
    that a key that is added to a configuration is asked for without anyone remembering.

    Args:
        train: overrides of the training of the row's encoder, ``generator.path=trained:KIND`` or
            ``FILE_OF_KIND`` among them.
        evaluate: overrides of its evaluation.
    """
    words, kind = _of_choices(train)
    return _expected(tuple(words), kind, tuple(_of_choices(evaluate)[0]))


OF_TRAINING = ("objective", "batch_size", "precision", "discriminator", "augment")
"""Choices of a GAN's training."""


class _AnyF(nn.Module):
    """Stands where F would; no method looks at more of it before it works."""

    def taps(self, images: Tensor) -> list[Tensor]:
        """As the layers of F."""
        return [images]


@functools.lru_cache(maxsize=512)
def _expected(train: tuple[str, ...], kind: str, evaluate: tuple[str, ...]) -> dict[str, Any]:
    config, encoder, choices = _trained(train, kind)
    asked = {**_composed("evaluate", evaluate), "perceptual": config["perceptual"]}
    with torch.device("meta"):
        inverter = wire.build_method(asked["inversion"], asked, encoder=encoder, perceptual=_AnyF())
    alone = not wire.takes(asked["inversion"], "encoder")
    if alone:  # its record is of the generator's run, of whose training no row speaks
        choices = {key: choices[key] for key in ("scale", "generator")}
    inversion = {"name": room_name(asked["inversion"]["_target_"]), **inverter.settings}
    task = {key: value for key, value in asked["task"].items() if not key.startswith("_")}
    found = leaves({**choices, "inversion": inversion, "task": task}, "choices")
    return found | ({f"choices.{key}": ANY for key in OF_TRAINING} if alone else {})


@functools.lru_cache(maxsize=64)
def _trained(words: tuple[str, ...], kind: str) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """The configuration of a training, E without weights, and the choices of its run."""
    config = _composed("train", words)
    generator = _generator(kind, tuple(w for w in words if w.partition("=")[0].startswith("scale")))
    with torch.device("meta"):
        encoder: Any = wire.fresh_encoder(config["encoder"], config["latent"], generator=generator)
    return config, encoder, choices_of(config, generator=generator, encoder=encoder)


@functools.lru_cache(maxsize=16)
def _generator(kind: str, scale: tuple[str, ...]) -> Any:
    """The generator that ``experiment=gan`` trains for a kind at a scale, without weights."""
    architecture, multi_w = kind.split("_")[0], KINDS[kind][1]
    words = (f"generator={architecture}", f"generator.multi_w={multi_w}", *scale)
    config = _composed("train", ("experiment=gan", *words))
    with torch.device("meta"):
        return build(config["generator"], key="generator")


@functools.lru_cache(maxsize=256)
def _composed(name: str, words: tuple[str, ...]) -> dict[str, Any]:
    return compose_plain(name, list(words))


def _of_choices(overrides: Sequence[str]) -> tuple[list[str], str]:
    """The overrides that make choices, and the generator's kind."""
    words, kind = [], ""
    for word in overrides:
        key, given, value = word.partition("=")
        if key == "generator.path":
            kind = value.removeprefix("trained:").removeprefix(PLACEHOLDER)
        elif given and key.split(".")[0] not in NO_CHOICES and word != "generator=checkpoint":
            words.append(word)
    return words, kind
