"""TensorFlow networks of NVlabs' ``dnnlib`` as data: what they were made with, their variables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.places import Foreign, text_keys, turned
from idinvert.checkpoints.families.stylegan2_shapes import LARGEST
from idinvert.checkpoints.formats.archive import Stored

COMPONENTS = ("mapping", "synthesis")


def conv(name: str) -> Foreign:
    """The weight of a convolution: [k, k, in, out] in TensorFlow."""
    return turned(name, 3, 2, 0, 1)


def dense(name: str) -> Foreign:
    """The weight of a dense layer: [in, out] in TensorFlow."""
    return turned(name, 1, 0)


def is_network(value: Any) -> bool:
    """Whether a stored object is a TensorFlow network."""
    state = value.state if isinstance(value, Stored) else None
    return isinstance(state, dict) and isinstance(state.get("variables"), list | tuple)


def networks(content: Any) -> list[Stored]:
    """The networks of a tuple of networks, or of a single one; [] where it is neither."""
    members = list(content) if isinstance(content, list | tuple) else [content]
    return members if members and all(is_network(member) for member in members) else []


def variables(network: Stored) -> dict[str, Any]:
    """Name to array of the network's own variables and, under a prefix, of its components'.

    The mapping network's stand under ``G_mapping/`` and the synthesis network's under
    ``G_synthesis/``, as TensorFlow lists them.
    """
    found = _own(network)
    for name in COMPONENTS:
        component = component_of(network, name)
        if component is not None:
            found |= {f"G_{name}/{key}": value for key, value in _own(component).items()}
    return found


def component_of(network: Stored, name: str) -> Stored | None:
    """A network within the network, or None."""
    components = network.state.get("components")
    component = components.get(name) if isinstance(components, dict) else None
    return component if is_network(component) else None


def largest_side(consumer: Consumer, prefix: str = "") -> int:
    """The highest s, a power of two, of which there are variables ``{prefix}{s}x{s}/…``; or 0."""
    found = {
        name.removeprefix(prefix).partition("/")[0]
        for name in consumer.names()
        if name.startswith(prefix)
    }
    sides = [1 << i for i in range(2, 2 * LARGEST.bit_length())]
    return max((side for side in sides if f"{side}x{side}" in found), default=0)


def settings(network: Stored) -> dict[str, Any]:
    """What the network was made with, its components' settings included."""
    made = dict(text_keys(network.state.get("static_kwargs")))
    for name in COMPONENTS:
        component = component_of(network, name)
        if component is not None:
            made |= text_keys(component.state.get("static_kwargs"))
    return made


def takes_labels(made: Mapping[str, Any]) -> bool:
    """Whether a network was made for labels, or for something that is no number of them."""
    size = made.get("label_size")
    return size is not None and not _same(size, 0)


def require_settings(
    consumer: Consumer, made: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Refuses a network that was made otherwise than the native one computes.

    Raises:
        CheckpointError: A setting that is given has another value.
    """
    for name, value in expected.items():
        if name in made and not _same(made[name], value):
            consumer.fail(f"was made with {name}={made[name]!r:.60}, expected {value!r}")


def _own(network: Stored) -> dict[str, Any]:
    pairs = [
        pair
        for pair in network.state["variables"]
        if isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str)
    ]
    return {name: _array(value) for name, value in pairs}


def _array(value: Any) -> Any:
    """TensorFlow hands scalars out as numbers."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return np.asarray(value, dtype=np.float32)
    return value


def _same(found: Any, expected: Any) -> bool:
    found = found.item() if isinstance(found, np.number) else found
    if isinstance(expected, list):
        numbers = isinstance(found, list | tuple) and all(
            isinstance(value, int | float) for value in found
        )
        return numbers and list(found) == expected
    numbers = isinstance(found, int | float) and isinstance(expected, int | float)
    return (numbers or isinstance(found, type(expected))) and found == expected
