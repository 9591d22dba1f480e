"""The closed loop of an exact edit: its goal, the attribute networks, and the search for a step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.bundle import open_network
from idinvert.data.convert import to_float
from idinvert.data.formats import safe
from idinvert.editing.control import solve_steps
from idinvert.editing.directions import Direction
from idinvert.errors import ConfigError, nearest
from idinvert.evaluation import networks as wire
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import Inversions
from idinvert.evaluation.manipulation import Moves

Ask = float | list[float] | None
ALONE = """\
note: task.second=null, so no other network checks. To train one:
  python train.py experiment=attributes seed=1 data={data}
  Then give the folder of that run as task.second."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The requested values of an attribute.

    Attributes:
        attribute: its name.
        values: the values in the unit.
        relative: whether they are changes (task.by), else predicted values (task.to).
        scale: units per label value of 1.
        degrees: whether the unit is the degree, else that of the label.
        low: smallest label; the largest is 1.
    """

    attribute: str
    values: tuple[float, ...]
    relative: bool
    scale: float
    degrees: bool
    low: float

    @property
    def unit(self) -> str:
        """The name of the unit."""
        return "degrees" if self.degrees else "units of its label"

    def goals(self, shown: Tensor) -> Tensor:
        """Return the target labels for images with predicted labels `shown` [m], float64 [m, S]."""
        values = torch.tensor(self.values, dtype=torch.float64) / self.scale
        return shown.double()[:, None] * self.relative + values

    def words(self, value: float) -> str:
        """Return the caption of one of the values: ``pose +1°``."""
        change = f" {value:+g}" if self.relative else f" to {value:g}"
        return f"{self.attribute}{change}{'°' * self.degrees}"

    def stem(self, value: float) -> str:
        """Return the same for a file name: ``pose+1deg``."""
        change = f"{value:+g}" if self.relative else f"_to_{value:g}"
        return f"{safe(self.attribute)}{change}{'deg' * self.degrees}"


@dataclass(frozen=True)
class Loop:
    """Solves the steps of edits so that the attribute network predicts the goals.

    Attributes:
        context: with the attribute network.
        direction: edit direction of the attribute.
        moves: how it is applied.
        asked: the goals.
        limit: largest |α|.
    """

    context: EvaluationContext
    direction: Direction
    moves: Moves
    asked: Asked
    limit: float

    def codes(self, codes: Tensor, alpha: Tensor) -> Tensor:
        """Return codes [m, L, w_dim] moved by α [m]."""
        n = self.moves.codes(torch.zeros_like(codes[0]), self.direction, [1.0])[0]
        return codes + alpha.to(codes)[:, None, None] * n

    def solve(self, found: Inversions, places: Tensor) -> dict[str, Tensor]:
        """Edit some images.

        Returns:
            images uint8 [m, S, 3, R, R]; alpha and reached, [m, S].
        """
        column = list(self.context.needed_attributes.names).index(self.asked.attribute)
        codes, noise = found.codes[places], found.noise(places)
        count, size = len(self.asked.values), self.context.batch_size

        def edits(alpha: Tensor, items: Tensor) -> Iterator[Tensor]:
            for step, of in zip(alpha.split(size), (items // count).split(size), strict=True):
                maps = noise and [one[of] if len(one) > 1 else one for one in noise]
                yield found.synthesise(self.codes(codes[of], step), maps)

        def respond(alpha: Tensor, items: Tensor) -> Tensor:
            return read(self.context.attributes, edits(alpha, items), found)[:, column]

        every = torch.arange(len(places))
        before = respond(torch.zeros(len(places)), every * count)
        goals = self.asked.goals(before)
        inside = goals.clamp(self.asked.low, 1.0)
        solved = solve_steps(respond, inside.flatten(), limit=self.limit)
        images = torch.cat(list(edits(solved.alpha, torch.arange(goals.numel()))))
        reached = solved.reached.view_as(goals) & (goals == inside)
        return {
            "images": images.unflatten(0, goals.shape),
            "alpha": solved.alpha.view_as(goals),
            "reached": reached,
        }


def checked(
    context: EvaluationContext,
    attribute: str,
    directed: list[str],
    *,
    by: Ask,
    to: Ask,
    unit: str | None,
) -> Asked:
    """Check the requested values of an attribute.

    Args:
        context: with the attribute network and the data, which defines angles.
        attribute: its name.
        directed: attributes that have a direction.
        by, to, unit: see `control.control`.

    Raises:
        ConfigError: both or neither of by and to; an attribute without direction or that the
            network does not read; a unit that it does not have, or a value out of its range.
    """
    network, given = context.needed_attributes, by if to is None else to
    wire.require_reads(network, context.generator.resolution, key="attributes.path")
    if given is None or (by is not None and to is not None):
        raise ConfigError(
            f"got task.by={by} and task.to={to}: expected one of them, a change such as task.by=1 "
            "or a goal such as task.to=10."
        )
    known = [name for name in directed if name in network.names]
    if attribute not in known:
        lacks = "is not read by the attribute network"
        if attribute in network.names:
            lacks = f"has no edit direction (task=directions task.names=[{attribute}] trains one)"
        raise ConfigError(f"task.attribute={attribute} {lacks}. {nearest(attribute, known)}")
    domain = context.open_images()
    angles = {a.name: a.degrees for a in domain.attributes if a.degrees is not None}
    if unit == "degrees" and attribute not in angles:
        raise ConfigError(
            f"task.unit=degrees: {attribute} is no angle in {domain.name}, whose angles are "
            f"{', '.join(angles) or 'none'}; expected label or null."
        )
    degrees, relative = attribute in angles and unit != "label", to is None
    scale = angles[attribute] if degrees else 1.0
    low = 0.0 if network.kinds[network.names.index(attribute)] == "binary" else -1.0
    values = tuple(map(float, dict.fromkeys(given if isinstance(given, list) else [given])))
    asked = Asked(
        attribute=attribute, values=values, relative=relative, scale=scale, degrees=degrees, low=low
    )
    least, most = ((low - 1) * scale, (1 - low) * scale) if relative else (low * scale, scale)
    wrong = [one for one in values if not least <= one <= most or (relative and one == 0)]
    if wrong or not values:
        raise ConfigError(
            f"task.{'by' if relative else 'to'}={given}: {attribute} goes from {low * scale:g} to "
            f"{scale:g} {asked.unit}; expected {least:g} to {most:g}{', not 0' * relative}."
        )
    return asked


def second_network(context: EvaluationContext, attribute: str, path: str | None) -> list[Any]:
    """Return a list with the second network, which checks the edits; empty if `path` is None.

    Raises:
        ConfigError: it does not read the attribute, or is the network that solves the steps.
    """
    if path is None:
        print(ALONE.format(data=context.open_images().name))
        return []
    network = open_network(path, role="attributes", key="task.second")
    wire.require_reads(network, context.generator.resolution, key="task.second")
    if attribute not in network.names:
        raise ConfigError(
            f"task.second={path} does not read {attribute}: it reads {', '.join(network.names)}; "
            "give a network that was trained on the same labels."
        )
    if wire.state_hash(network) == context.checkpoints["attributes"]:
        raise ConfigError(
            f"task.second={path} is the attribute network itself: give another, such as that of "
            "python train.py experiment=attributes seed=1."
        )
    return [network]


@torch.no_grad()
def read(network: Any, images: Iterable[Tensor], found: Inversions) -> Tensor:
    """Return a network's predicted labels for blocks of uint8 images: float64 [n, A]."""
    network.to(found.device).eval()
    return torch.cat([network.predict(to_float(x.to(found.device))) for x in images]).double().cpu()
