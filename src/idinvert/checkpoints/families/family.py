"""Definition of a checkpoint family, and shared code of the readers."""

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.formats.archive import Archive
from idinvert.checkpoints.strict_loading import StrictStateDict, text_keys
from idinvert.errors import CheckpointError, Note
from idinvert.untrusted import shown

WRAPPED = "module."
NVIDIA = "NVIDIA Source Code License, non-commercial"


class Reader(Protocol):
    """Reads the networks of a file, see `Family`."""

    def __call__(self, archive: Archive, *, key: str, network: str | None = None) -> Checkpoint: ...


@dataclass(frozen=True)
class Family:
    """A checkpoint layout: how it is recognised, and how it is read.

    Args:
        name: Name shown by `inspect`.
        recognise: Returns whether a file is of this family, by its content.
        read: Reads the networks. ``key`` is the config key that named the file, for messages;
            ``network`` picks the generator, None takes the averaged one. Raises a CheckpointError
            that names every tensor that does not match.
        licence: Licence of the repository that the layout comes from; the licence of the weights
            may differ.
        objective: The objective that its encoders were trained with, as named in tables; None if
            the file says it.
        settings: Generator settings that a user may give: names of `bundle.SETTINGS`.
    """

    name: str
    recognise: Callable[[Archive], bool]
    read: Reader
    licence: str
    objective: str | None = None
    settings: tuple[str, ...] = ()


def choose_generator(
    found: Collection[str], *, ema: str, live: str, network: str | None, what: str, key: str
) -> str | None:
    """Picks the generator: the averaged one, unless another is requested or it is missing.

    Args:
        found: Names of the networks in the file.
        ema: The family's name of the averaged generator; ``"g_ema"`` selects it in every family.
        live: The family's name of the trained generator; ``"g"`` selects it in every family.
        network: The user's choice, case-insensitive; None for no choice.
        what: The file and its family, for messages.
        key: The config key that named the file, for messages.

    Returns:
        A name of `found`, or None if there is no generator and none was requested.

    Raises:
        CheckpointError: The requested one is missing or unknown.
    """
    there = [name for name in (ema, live) if name in found]
    if network is None:
        if there == [live]:
            told = f"{what}: holds no averaged generator ({ema}); the live one ({live}) is read"
            warnings.warn(told, Note, stacklevel=2)
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
    """One network of a file that contains several."""

    name: str
    stored: Any  # the network as stored in the file
    content: Any  # content of the whole file
    state: StrictStateDict
    given: Mapping[str, Any] = field(default_factory=dict)
    assumed: dict[str, Any] = field(default_factory=dict)

    def setting(self, name: str, built: Mapping[str, Any], default: Any, *, key: str = "") -> Any:
        """Returns the user's value, else the file's (under `key`), else the default, recorded."""
        if name in self.given:
            return self.given[name]
        if (key or name) in built:
            return built[key or name]
        self.assumed[name] = default
        return default


def pair_reader(
    title: str,
    names: tuple[str, str, str],
    *,
    members: Callable[[Any], Mapping[str, Any]],
    generator: Callable[[Part], tuple[nn.Module, Tensor | None, dict[str, Any]]],
    discriminator: Callable[[Part], nn.Module],
    tensors: Callable[[Any], Mapping[str, Any]] = dict,
) -> Reader:
    """Returns the reader of a family whose files contain G, in one or two versions, and D by name.

    Args:
        title: The family, for messages.
        names: The family's names of the averaged G, of the trained G, and of D.
        members: Returns the networks in a file's content, by name.
        generator: Reads G; returns it with its mean code and information for users.
        discriminator: Reads D.
        tensors: Returns the tensors of a stored network.
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

        assumed: dict[str, Any] = {}

        def part(name: str) -> Part:
            which = f"{what}, network {name}"
            try:
                state = StrictStateDict(tensors(held[name]), what=which, key=key)
            except CheckpointError as error:
                raise CheckpointError(f"{which}: {error}; change {key}") from error
            return Part(name, held[name], archive.content, state, archive.given, assumed)

        name = choose_generator(held, ema=ema, live=live, network=network, what=what, key=key)
        meta: dict[str, Any] = {"network": name, "networks": list(held)}
        g = latent_avg = None
        d = None
        failed = foreign_encoder(archive.content, what=what)
        if name is not None:
            try:
                g, latent_avg, facts = generator(part(name))
                meta |= facts | ({"assumed": dict(assumed)} if assumed else {})
            except CheckpointError as error:
                failed["generator"] = str(error)
        if judge in held:
            try:
                d = discriminator(part(judge))
            except CheckpointError as error:
                failed["discriminator"] = str(error)
        return Checkpoint(
            generator=g, discriminator=d, latent_avg=latent_avg, meta=meta, failed=failed
        )

    return read


def _claims(content: Any, name: str) -> bool:
    """Returns whether a file has an entry of that name, at the top or under ``models``."""
    if not isinstance(content, Mapping):
        return False
    return name in content or _claims(content.get("models"), name)


def foreign_encoder(content: Any, *, what: str) -> dict[str, str]:
    """Describes the encoder stored beside G and D, which no family with such pairs can read."""
    top = content if isinstance(content, Mapping) else {}
    for place in (top.get("models"), top):
        found = place.get("encoder") if isinstance(place, Mapping) else None
        if isinstance(found, Mapping) and found:
            names = ", ".join(shown(str(name)[:40]) for name in list(found)[:3])
            reason = (
                f"{what} has an encoder of {len(found)} tensors ({names}, …), such as genforce's "
                "EncoderRunner (GH-Feat) saves; no encoder here has that architecture"
            )
            return {"encoder": reason}
    return {}


def unwrapped(content: Any, marks: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """Returns the state dict that makes up a file, also under ``state_dict`` or ``model``, or None.

    The prefix ``module.`` of torch's DataParallel is removed.
    """
    top = text_keys(content)
    for state in (top, text_keys(top.get("state_dict")), text_keys(top.get("model"))):
        if state and all(name.startswith(WRAPPED) for name in state):
            state = {name.removeprefix(WRAPPED): value for name, value in state.items()}
        if marks(state):
            return state
    return None


def require_colours(state: StrictStateDict, channels: int) -> None:
    """Refuses networks for images that are not RGB."""
    if channels != 3:
        kind = {1: " (grey)", 4: " (RGBA)", 6: " (two images)"}.get(channels, "")
        state.fail(
            f"is for images of {channels} channel{'s'[: channels != 1]}{kind}, and the networks "
            "here are for RGB, 3 channels; train it on RGB images, or give another file"
        )


def require_settings(
    state: StrictStateDict, made: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Refuses a network that was built with settings that the native network does not support.

    Raises:
        CheckpointError: A setting in `made`, from the file, has another value than `expected`.
    """
    for name, value in expected.items():
        if name in made and not same_setting(made[name], value):
            state.fail(f"was built with {name}={made[name]!r:.60}, expected {value!r}")


def same_setting(found: Any, expected: Any) -> bool:
    """Returns whether a setting has this value, whatever its number or sequence type."""
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
    """Returns a positive setting of a network, or None; the default if the file has none.

    Raises:
        CheckpointError: The value is neither.
    """
    found = plain_number(made.get(name, default))
    if found is None or (type(found) in (int, float) and math.isfinite(found) and found > 0):
        return found
    state.fail(f"{name} is {found!r:.60}, expected a number above 0")


def group_setting(
    state: StrictStateDict, made: Mapping[str, Any], name: str, default: int | None = 4
) -> int | None:
    """Returns the minibatch deviation's group size, or None for all; see `positive_setting`."""
    found = positive_setting(state, made, name, default)
    if found is not None and int(found) != found:
        state.fail(f"{name} is {found!r:.60}, expected a whole number")
    return None if found is None else int(found)


def plain_number(found: Any) -> Any:
    """Converts a NumPy number to Python's; returns anything else unchanged."""
    return found.item() if isinstance(found, np.number) else found
