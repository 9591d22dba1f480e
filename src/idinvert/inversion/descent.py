"""How an inversion descends: the choices that every optimising method shares."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from idinvert.acceleration import StepGraphs
from idinvert.errors import ConfigError
from idinvert.inversion.inversion import Progress
from idinvert.inversion.loop import (
    Objective,
    Optimised,
    Perturb,
    Project,
    Synthesise,
    optimise,
)
from idinvert.inversion.optimizers import OptimizerName, Preconditioner, check_optimizer
from idinvert.inversion.schedules import schedule_named


@dataclass(frozen=True, kw_only=True)
class Descent:
    """An optimiser, a schedule, an end and a rule for what is kept; see `loop.optimise`.

    Attributes:
        steps: the optimiser's steps, each of one evaluation of the objective and its gradient.
        optimizer: "adam", "lbfgs" or "lbfgs_gn" (`optimizers.py`).
        lr: Adam's learning rate; the root mean square of L-BFGS's first step.
        betas: Adam's constants.
        schedule: factor on a step: "constant", "cosine" or "ramps" (`schedules.py`).
        early_stop: freeze an image after this many steps without a gain; None for never.
        early_stop_gain: the share of its loss that an image must have lost for that to be a gain.
        keep_best: keep the iterate of least loss of every image, not the last one.
        cuda_graphs: replay the objective and its gradient as CUDA graphs; no result depends on it.

    Raises:
        ConfigError: a value makes no sense.
    """

    steps: int
    lr: float
    optimizer: OptimizerName = "adam"
    betas: Sequence[float] = (0.9, 0.999)
    schedule: str = "constant"
    early_stop: int | None = None
    early_stop_gain: float = 0.01
    keep_best: bool = True
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0 or self.lr <= 0:
            raise ConfigError(
                f"got steps={self.steps}, lr={self.lr}: expected steps of 0 or more and lr above "
                "0; change inversion.steps, inversion.lr"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(
                f"inversion.betas is {list(self.betas)}: expected two numbers in [0, 1)"
            )
        if self.early_stop is not None and self.early_stop < 1:
            raise ConfigError(
                f"inversion.early_stop is {self.early_stop}: expected 1 step or more, or null for "
                "never"
            )
        if not 0 <= self.early_stop_gain < 1:
            raise ConfigError(
                f"inversion.early_stop_gain is {self.early_stop_gain}: expected a share in [0, 1)"
            )
        schedule_named(self.schedule)
        check_optimizer(self.optimizer)

    @property
    def settings(self) -> dict[str, Any]:
        """What a record keeps."""
        settings = asdict(self) | {"betas": [float(beta) for beta in self.betas]}
        del settings["cuda_graphs"]
        return settings

    def minimise(
        self,
        *,
        start: Sequence[Tensor],
        synthesise: Synthesise,
        objective: Objective,
        preconditioner: Preconditioner | None = None,
        perturb: Perturb | None = None,
        project: Project | None = None,
        progress: Progress | None = None,
    ) -> Optimised:
        """Run the loop with these choices; arguments as in `loop.optimise`."""
        return optimise(
            start=start,
            synthesise=synthesise,
            objective=objective,
            steps=self.steps,
            optimizer=self.optimizer,
            lr=self.lr,
            betas=(float(self.betas[0]), float(self.betas[1])),
            schedule=schedule_named(self.schedule),
            keep_best=self.keep_best,
            early_stop=self.early_stop,
            early_stop_gain=self.early_stop_gain,
            graphs=StepGraphs(enabled=self.cuda_graphs),
            preconditioner=preconditioner,
            perturb=perturb,
            project=project,
            progress=progress,
        )
