"""One network of an NVlabs file: its tensors, and what it was built with."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.formats.archive import Stored, flat_tensors
from idinvert.errors import CheckpointError
from idinvert.networks.stylegan2_synthesis import CONNECTIONS

_LINEAR = ("affine", "embed", "out", "skip", "torgb")  # layers without an activation


class Module:
    """A stored module, or a plain state dict with the arguments it was built with.

    Args:
        stored: The module as it was pickled; None for a state dict.
        settings: Arguments by keyword, nested as NVlabs nest them; read for a state dict only.
        consumer: Its tensors.
    """

    def __init__(
        self, stored: Stored | None, settings: Mapping[str, Any], consumer: Consumer
    ) -> None:
        self._stored, self._settings = stored, settings
        self.consumer = consumer

    @staticmethod
    def recognise(found: Any) -> bool:
        """Whether something of a file is a network of NVlabs'."""
        if isinstance(found, Stored):
            modules = found.state.get("_modules") if isinstance(found.state, dict) else None
            return isinstance(modules, dict) and bool({"synthesis", "b4"} & set(modules))
        if not isinstance(found, dict):
            return False
        return "synthesis.b4.const" in found or "b4.conv.weight" in found

    def attribute(self, path: str, name: str, default: Any) -> Any:
        """An attribute of a layer, or the default where the file does not say.

        Args:
            path: The layer's dotted name.
            name: The attribute's.
            default: What to give for a state dict, or for a layer without that attribute.
        """
        layer: Any = self._stored
        for part in path.split("."):
            modules = layer.state.get("_modules") if _has_state(layer) else None
            layer = modules.get(part) if isinstance(modules, dict) else None
        return layer.state.get(name, default) if _has_state(layer) else default

    def lr_multiplier(self) -> float:
        """The learning-rate multiplier of the mapping network, which scales its weights.

        Raises:
            CheckpointError: It is no positive number.
        """
        default = self._argument("lr_multiplier", 0.01)
        return self._positive(self.attribute("mapping.fc0", "bias_gain", default), "lr_multiplier")

    def clamp(self, path: str) -> float | None:
        """The bound on the outputs, as the layer or the arguments have it.

        Raises:
            CheckpointError: It is no positive number.
        """
        found = self.attribute(path, "conv_clamp", self._argument("conv_clamp", None))
        return None if found is None else self._positive(found, "conv_clamp")

    def group(self) -> int | None:
        """Images in a group of the minibatch deviation; None for the whole batch.

        Raises:
            CheckpointError: It is no positive whole number.
        """
        found = self.attribute("b4.mbstd", "group_size", self._argument("mbstd_group_size", 4))
        if found is None:
            return None
        if int(self._positive(found, "mbstd_group_size")) != found:
            self.consumer.fail(f"mbstd_group_size is {found!r:.60}, expected a whole number")
        return int(found)

    def connections(self, path: str, *, seen: str) -> str:
        """The architecture that a block or the arguments have, else the one that is seen.

        Raises:
            CheckpointError: It is none of the three.
        """
        found = self.attribute(path, "architecture", self._argument("architecture", seen))
        if not isinstance(found, str) or found not in CONNECTIONS:
            self.consumer.fail(
                f"has architecture {found!r:.60}, expected one of {list(CONNECTIONS)}"
            )
        return found

    def half_precision(self) -> bool:
        """Whether some of its layers ran in half precision where it was trained."""
        if self._stored is None:
            return bool(self._argument("num_fp16_res", 0))
        return any(state.get("use_fp16") is True for _, state in _layers(self._stored))

    def check_activations(self) -> None:
        """Refuses a network with other activations than StyleGAN2's.

        Raises:
            CheckpointError: A layer has another one.
        """
        for path, state in _layers(self._stored):
            found = state.get("activation")
            expected = "linear" if path.rpartition(".")[2] in _LINEAR else "lrelu"
            if found is not None and str(found) != expected:
                self.consumer.fail(f"{path} has activation {found!r:.60}, expected {expected!r}")

    def _argument(self, name: str, default: Any) -> Any:
        """An argument by keyword, at whatever depth of the nested ones."""
        groups = [self._settings, *self._settings.values()]
        for group in groups:
            if isinstance(group, Mapping) and name in group:
                return group[name]
        return default

    def _positive(self, found: Any, name: str) -> float:
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if not number or not math.isfinite(found) or found <= 0:
            self.consumer.fail(f"{name} is {found!r:.60}, expected a number above 0")
        return found


def open_module(found: Any, *, part: str, settings: Any, what: str, key: str) -> Module:
    """Opens one network of a file.

    Args:
        found: The stored module or state dict.
        part: Its name in the file: ``"G_ema"``, ``"G"`` or ``"D"``.
        settings: Arguments of all networks by name, where the file holds state dicts.
        what: The file, for messages.
        key: The config key that named it, for messages.

    Raises:
        CheckpointError: It is neither.
    """
    what = f"{what}, network {part}"
    if isinstance(found, Stored):
        try:
            tensors: Mapping[str, Tensor] = flat_tensors(found)
        except CheckpointError as error:
            raise CheckpointError(f"{what}: {error}; change {key}") from error
        return Module(found, {}, Consumer(tensors, what=what, key=key))
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{what}: is a {type(found).__name__}, expected a stored module or a state dict; "
            f"change {key}"
        )
    own = settings.get(part, {}) if isinstance(settings, dict) else {}
    own = own if isinstance(own, dict) else {}
    return Module(None, own, Consumer(found, what=what, key=key))


def _has_state(found: Any) -> bool:
    return isinstance(found, Stored) and isinstance(found.state, dict)


def _layers(stored: Stored | None, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every module inside, by dotted name, with its attributes."""
    if stored is None or not _has_state(stored):
        return []
    found = [(prefix, stored.state)]
    modules = stored.state.get("_modules")
    for name, child in (modules if isinstance(modules, dict) else {}).items():
        if isinstance(child, Stored):
            found += _layers(child, f"{prefix}.{name}" if prefix else str(name))
    return found
