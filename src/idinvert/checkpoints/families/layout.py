"""A foreign layout as a table: where each native tensor stands in the file, and in what form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from idinvert.checkpoints.families.consume import Consumer
from idinvert.checkpoints.families.networks import settle
from idinvert.checkpoints.skeleton import without_memory
from idinvert.errors import IdinvertError
from idinvert.networks.resample import fir_kernel

Network = TypeVar("Network", bound=nn.Module)
Transform = Callable[[Tensor], Tensor]


def keep(tensor: Tensor) -> Tensor:
    """The same in both layouts."""
    return tensor


@dataclass(frozen=True)
class Place:
    """Where one native tensor stands.

    Args:
        native: Its name in the native state dict.
        foreign: Its name in the file.
        read: From the file's form to the native one.
        write: Back again; also what tells the shape that the file must hold.
    """

    native: str
    foreign: str
    read: Transform = keep
    write: Transform = keep


def build(
    make: Callable[[], Network],
    places: Sequence[Place],
    consumer: Consumer,
    *,
    filters: Mapping[str, Tensor] | None = None,
    absent: Iterable[str] = (),
) -> Network:
    """Builds a network and fills it, only once every tensor is known to fit.

    Args:
        make: Makes the network; called first without memory, so that a file cannot ask for more
            than it holds.
        places: One for each native tensor that the file holds.
        consumer: The file's tensors.
        filters: Tensors that have only one right value, by their name in the file.
        absent: Native tensors that the file does not hold; they keep their initial values, drawn
            with a fixed seed.

    Raises:
        CheckpointError: A tensor is missing, extra or misshapen, or the architecture is impossible.
    """
    try:
        with without_memory():
            shapes = make().state_dict()
    except (IdinvertError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        consumer.fail(f"no native network has this architecture ({reason})")
    with without_memory():
        forms = [place.write(shapes.pop(place.native)) for place in places]
    values = {}
    for place, form in zip(places, forms, strict=True):
        values[place.native] = place.read(consumer.take(place.foreign, shape=form.shape))
    left = shapes.keys() - set(absent)
    assert not left, f"the layout says nothing of {sorted(left)}"
    for name, value in (filters or {}).items():
        consumer.constant(name, value)
    consumer.finish()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = make()
    network.load_state_dict(values, strict=False)
    return settle(network)


def lay_out(
    network: nn.Module, places: Sequence[Place], *, filters: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Writes a network's tensors in the foreign layout: the way back of `build`.

    Returns:
        Name to tensor: contiguous, on the CPU, sharing no memory with the network.
    """
    state = network.state_dict()
    found = {place.foreign: place.write(state[place.native]) for place in places}
    found |= dict(filters or {})
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in found.items()
    }


def mirrored(filters: Tensor) -> Tensor:
    """Filters [..., k, k] turned by half a turn: a convolution's for a correlation's."""
    return filters.flip((-2, -1))


def shifted(by: float) -> Transform:
    """Adds a number that the file's network adds at run time, or takes it away."""
    return lambda tensor: tensor + by


def leading_one(native: str, foreign: str, *, read: Transform = keep) -> Place:
    """A tensor with a leading dimension of 1 in the file; `read` must keep its shape."""
    return Place(native, foreign, lambda tensor: read(tensor[0]), lambda tensor: tensor[None])


def spread(layers: int) -> Transform:
    """Gives every layer the one mean code of a file: [w_dim] to [L, w_dim]."""
    return lambda w_avg: w_avg.expand(layers, -1)


def first_layer(w_avg: Tensor) -> Tensor:
    """Takes the code that all layers share: [L, w_dim] to [w_dim]."""
    return w_avg[0]


def smooth_filter(*, gain: float = 1.0) -> Tensor:
    """StyleGAN2's only resampling filter, [1, 3, 3, 1] along both axes: [4, 4], sums to gain."""
    return fir_kernel((1, 3, 3, 1)) * gain
