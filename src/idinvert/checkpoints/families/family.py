"""What a checkpoint family is, and what its readers share."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.strict_loading import StrictStateDict
from idinvert.errors import CheckpointError

NVIDIA = "NVIDIA Source Code License, non-commercial"


class Reader(Protocol):
    """Reads the networks of a file, see `Family`."""

    def __call__(self, archive: Archive, *, key: str, network: str | None = None) -> Checkpoint: ...


@dataclass(frozen=True)
class Family:
    """A checkpoint layout: how it is recognised, and how it is read.

    Args:
        name: What `inspect` calls it.
        recognise: Whether a file is of this family, by its content.
        read: Reads the networks. ``key`` is the config key that named the file, for messages;
            ``network`` picks the generator, None takes the averaged one. Raises a CheckpointError
            that names every tensor that does not fit.
        licence: Of the repository that the layout comes from; that of the weights is their
            owner's word.
        objective: The objective that its encoders were trained with, as tables name it; None
            where the file tells.
    """

    name: str
    recognise: Callable[[Archive], bool]
    read: Reader
    licence: str
    objective: str | None = None


def choose_generator(
    found: Collection[str], *, ema: str, live: str, network: str | None, what: str, key: str
) -> str | None:
    """Picks the generator: the averaged one, unless told otherwise or it is not there.

    Args:
        found: Names of the networks in the file.
        ema: The family's name of the averaged generator; ``"g_ema"`` means it in every family.
        live: The family's name of the one that was trained; ``"g"`` means it in every family.
        network: What the user asked for, in any case; None leaves the choice.
        what: The file and its family, for messages.
        key: The config key that named the file, for messages.

    Returns:
        A name of `found`, or None where there is no generator and none was asked for.

    Raises:
        CheckpointError: The one asked for is not there, or is not known.
    """
    there = [name for name in (ema, live) if name in found]
    if network is None:
        return there[0] if there else None
    names = {"g_ema": ema, ema.lower(): ema, "g": live, live.lower(): live}
    wanted = names.get(network.lower())
    if wanted is None or wanted not in there:
        raise CheckpointError(
            f"{what}: has no generator {network!r}, expected one of {there}; change the network "
            f"asked for, or {key}"
        )
    return wanted


@dataclass(frozen=True)
class Part:
    """One network of a file that holds several."""

    name: str
    stored: Any  # as the file holds it
    content: Any  # the whole file's
    state: StrictStateDict


def pair_reader(
    title: str,
    names: tuple[str, str, str],
    *,
    members: Callable[[Any], Mapping[str, Any]],
    generator: Callable[[Part], tuple[nn.Module, Tensor | None, dict[str, Any]]],
    discriminator: Callable[[Part], nn.Module],
    tensors: Callable[[Any], Mapping[str, Any]] = dict,
) -> Reader:
    """The reader of a family whose files hold G, in one or two versions, and D by name.

    Args:
        title: The family, for messages.
        names: The family's names of the averaged G, of G as trained, and of D.
        members: The networks in a file's content, by name.
        generator: Reads G, and gives its mean code and facts for people.
        discriminator: Reads D.
        tensors: Gives the tensors of a network as the file holds it.
    """
    ema, live, judge = names

    def read(archive: Archive, *, key: str, network: str | None = None) -> Checkpoint:
        what = f"{archive.path} ({title})"
        held = members(archive.content)
        if network is None and ema not in held and _claims(archive.content, ema):
            raise CheckpointError(
                f"{what}: has an averaged generator {ema} that is empty or no network, and the one "
                f"as trained gives other images; ask for it (--network g), or change {key}"
            )

        def part(name: str) -> Part:
            which = f"{what}, network {name}"
            try:
                state = StrictStateDict(tensors(held[name]), what=which, key=key)
            except CheckpointError as error:
                raise CheckpointError(f"{which}: {error}; change {key}") from error
            return Part(name, held[name], archive.content, state)

        name = choose_generator(held, ema=ema, live=live, network=network, what=what, key=key)
        meta: dict[str, Any] = {"network": name, "networks": list(held)}
        g = latent_avg = None
        if name is not None:
            g, latent_avg, facts = generator(part(name))
            meta |= facts
        d = discriminator(part(judge)) if judge in held else None
        return Checkpoint(generator=g, discriminator=d, latent_avg=latent_avg, meta=meta)

    return read


def _claims(content: Any, name: str) -> bool:
    """Whether a file has an entry of that name, by itself or with others under ``models``."""
    if not isinstance(content, Mapping):
        return False
    return name in content or _claims(content.get("models"), name)


def require_settings(
    state: StrictStateDict, made: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Refuses a network that was built otherwise than the native one computes.

    Raises:
        CheckpointError: A setting in `made`, what the file says, has another value than `expected`.
    """
    for name, value in expected.items():
        if name in made and not same_setting(made[name], value):
            state.fail(f"was built with {name}={made[name]!r:.60}, expected {value!r}")


def same_setting(found: Any, expected: Any) -> bool:
    """Whether a setting has this value, whichever number or sequence type stores it."""
    found = plain_number(found)
    if isinstance(expected, list):
        numbers = isinstance(found, list | tuple) and all(
            isinstance(value, int | float) for value in found
        )
        return numbers and list(found) == expected
    numbers = isinstance(found, int | float) and isinstance(expected, int | float)
    return (numbers or isinstance(found, type(expected))) and bool(found == expected)


def positive_setting(
    state: StrictStateDict, made: Mapping[str, Any], name: str, default: float | None
) -> Any:
    """A positive number that a network was built with, or None; the default where it is not said.

    Raises:
        CheckpointError: It is something else.
    """
    found = plain_number(made.get(name, default))
    if found is None or (type(found) in (int, float) and math.isfinite(found) and found > 0):
        return found
    state.fail(f"{name} is {found!r:.60}, expected a number above 0")


def plain_number(found: Any) -> Any:
    """A number as Python's own, where numpy stores it; anything else as it is."""
    return found.item() if isinstance(found, np.number) else found
