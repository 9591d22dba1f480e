"""The batched optimisation loop that all optimisation methods share, and its settings."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from idinvert.annotations import Betas, Count, PositiveFloat, PositiveInt, ScheduleName, Weight
from idinvert.errors import ConfigError
from idinvert.inversion.initialization import check_choice, codes_in
from idinvert.inversion.inversion import Inversion, Progress, now
from idinvert.inversion.optimizers import (
    LBFGS,
    OPTIMIZERS,
    SCHEDULES,
    OptimizerName,
    Preconditioner,
    TorchOptimizer,
)
from idinvert.inversion.working_set import (
    Answer,
    Asked,
    Evaluation,
    Objective,
    Rows,
    Synthesise,
    WorkingSet,
    at,
    gradients,
    plain,
)
from idinvert.networks.generator import SynthesisState

Change = Callable[..., Sequence[Tensor]]
JOINED = ("images", "start_images", "best_step", "failed")


@dataclass(frozen=True)
class Optimised:
    """The result of the loop for N images.

    Attributes:
        variables: the kept value of every variable, each [N, ...], detached.
        images: the output of `synthesise` for them, [N, 3, R, R].
        start_images: its output for the starting point, [N, 3, R, R].
        losses: total objective of every iterate, [steps + 1, N].
        terms: its weighted terms, each [steps + 1, N].
        best_step: the iterate that was kept, int64 [N].
        failed: True where an objective was not finite, bool [N].

    After an image is frozen (it failed, or stopped early), its rows of `losses` and `terms` repeat
    those of the kept iterate.
    """

    variables: tuple[Tensor, ...]
    images: Tensor
    start_images: Tensor
    losses: Tensor
    terms: dict[str, Tensor]
    best_step: Tensor
    failed: Tensor

    def as_inversion(
        self,
        *,
        space: str,
        generator: Any,
        noise: list[Tensor] | None,
        begin: float,
        state: SynthesisState | None = None,
    ) -> Inversion:
        """Return an `Inversion`; the first variable is the codes.

        Args:
            space: the space of the codes: "w_plus", "w" or "z".
            generator: frozen G.
            noise: the noise maps of G, or None for its own buffers.
            begin: when the call began, from `inversion.now`.
            state: the state from which G resumes, if codes alone do not determine the images.
        """
        moved = self.variables[0]
        with torch.no_grad():
            codes = codes_in(space, moved, generator=generator).contiguous()  # [N, L, w_dim]
        return Inversion(
            codes=codes,
            images=self.images,
            losses=self.losses,
            terms=self.terms,
            seconds=(now(codes.device) - begin) / len(codes),
            start_images=self.start_images,
            best_step=self.best_step,
            failed=self.failed,
            noise=noise,
            z=moved if space == "z" else None,
            state=state,
        )


@dataclass(kw_only=True)
class Descent:
    """The optimisation loop and its settings, which all optimisation methods share.

    Args:
        steps: optimisation steps; the objective is evaluated steps + 1 times.
        lr: the learning rate before `schedule`; the root mean square of L-BFGS's first step.
        optimizer: "adam", "sgd" (plain gradient descent), or "lbfgs" or "lbfgs_gn", which need
            fewer steps (`optimizers.py`).
        betas: Adam's constants.
        schedule: factor on the step size: "constant", "cosine", "ramps" or "halvings"
            (`optimizers.py`).
        early_stop: freeze an image after this many steps without improvement; None for never.
        early_stop_gain: the relative decrease of an image's loss that counts as an improvement.
        keep_best: keep the iterate with the lowest loss of every image, not the last one.

    Attributes:
        cuda_graphs: replay the objective and its gradient as CUDA graphs; no result depends on it.
        slots: how many images are optimised at once, None for all; it affects results by rounding
            alone.

    Raises:
        ConfigError: a value is invalid.
    """

    optimizers: ClassVar[Sequence[str]] = OPTIMIZERS

    steps: Count
    lr: PositiveFloat
    optimizer: OptimizerName = "adam"
    betas: Betas = (0.9, 0.999)
    schedule: ScheduleName = "constant"
    early_stop: PositiveInt | None = None
    early_stop_gain: Weight = 0.01
    keep_best: bool = True
    cuda_graphs: bool = field(default=False, init=False)
    slots: int | None = field(default=None, init=False)

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
        check_choice(self.schedule, tuple(SCHEDULES), key="inversion.schedule")
        check_choice(self.optimizer, tuple(self.optimizers), key="inversion.optimizer")
        self.betas = (float(self.betas[0]), float(self.betas[1]))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are stored in records."""
        names = [each.name for each in fields(Descent) if each.init]
        return {name: getattr(self, name) for name in names} | {"betas": list(self.betas)}

    def stepping(
        self, variables: Sequence[Tensor], preconditioner: Preconditioner | None
    ) -> TorchOptimizer | LBFGS:
        """Return the optimiser of these variables, each [N, ...]; methods may override it."""
        if self.optimizer == "adam":
            adam = torch.optim.Adam(variables, lr=self.lr, betas=self.betas, eps=1e-8)
            return TorchOptimizer(adam)
        if self.optimizer == "sgd":
            return TorchOptimizer(torch.optim.SGD(variables, lr=self.lr))
        return LBFGS(variables, lr=self.lr, preconditioner=preconditioner)

    def minimise(
        self,
        *,
        start: Sequence[Tensor],
        synthesise: Synthesise,
        objective: Objective,
        preconditioner: Preconditioner | None = None,
        perturb: Change | None = None,
        project: Change | None = None,
        progress: Progress | None = None,
    ) -> Optimised:
        """Minimise a per-image objective over per-image variables, N images, `slots` at once.

        The losses are summed over images and the optimiser treats images separately, so each image
        is optimised as if it were alone. An image is frozen at its kept iterate if its objective
        becomes non-finite (reported in `failed`) or stops improving; the others continue. Only the
        variables get gradients.

        With early stopping, images that have stopped are no longer computed, and waiting images
        take their place, an eighth of the slots at a time.

        Args:
            start: the starting point of each variable, each float [N, ...].
            synthesise: called with (rows, *variables), returns images [m, 3, R, R]; rows are the
                indices of these images among the N, see `working_set.Rows`.
            objective: called with (rows, images, *variables), returns weighted terms by name, each
                [m].
            preconditioner: of `LBFGS`.
            perturb: called with (progress in [0, 1], places, *variables) before each evaluation,
                returns the variables plus offsets that do not depend on them; these are evaluated
                and kept instead. Progress is 1 at the last evaluation.
            project: called with the variables after each step, returns their new values.
            progress: called with (steps done, total steps), the mean over images.

        Raises:
            ValueError: a term of the objective is not [m].
        """
        evaluate, n, done = Evaluation(synthesise, objective), len(start[0]), 0
        slots = min(n, self.slots or n)
        work = WorkingSet(evaluate, images=n, slots=slots, cuda_graphs=self.cuda_graphs)
        with gradients():
            start = [plain(v) for v in start]
            known: Any = (start, evaluate, preconditioner, perturb, project)
            groups: list[_Group] = []
            while True:
                active = [group for group in groups if group.found is None]
                vacant = slots - sum(len(group.asked.rows) for group in active)
                first = sum(group.count for group in groups)
                if 0 < min(n - first, work.part) <= vacant:
                    places = range(first, min(n, first + vacant))
                    groups.append(_Group(self._path(places, *known), places, self.steps))
                    active.append(groups[-1])
                if not active:
                    break
                answers = work([group.asked for group in active])
                for group, answer in zip(active, answers, strict=True):
                    group.go_on(answer)
                before, done = done, sum(group.done for group in groups) // n
                if progress is not None and done > before:
                    progress(done, self.steps)
        return _joined([group.found for group in groups if group.found])

    def _path(
        self,
        places: range,
        start: Sequence[Tensor],
        evaluate: Evaluation,
        preconditioner: Preconditioner | None,
        perturb: Change | None,
        project: Change | None,
    ) -> Generator[Asked, Answer, Optimised]:
        """Optimise images that start together: yields requests for evaluations, returns the result.

        Args:
            places: the indices of these images among all.
            start, preconditioner, perturb, project: see `minimise`.
            evaluate: provides the names of the terms.
        """
        steps, schedule, n = self.steps, SCHEDULES[self.schedule], len(places)
        variables = [v[places.start : places.stop].clone() for v in start]
        device = variables[0].device
        rows_of_all = torch.arange(places.start, places.stop, device=device)
        stepping = self.stepping(variables, preconditioner)
        history: list[Tensor] = []  # each [1 + terms, N]: the total, then its terms
        failed = torch.zeros(n, dtype=torch.bool, device=device)
        frozen, idle = failed.clone(), torch.zeros(n, dtype=torch.int64, device=device)
        best_step = torch.zeros_like(idle)
        best = [v.clone() for v in variables]
        left: Rows = None  # the images that are still computed; None for all

        for step in range(steps + 1):
            with torch.no_grad():
                seen: Sequence[Tensor] = variables
                if perturb is not None:
                    seen = perturb(step / max(steps, 1), places, *variables)
            # The last iterate is evaluated without a gradient.
            point, asked = [at(v, left) for v in seen], step < steps
            rows, images, slopes = yield Asked(at(rows_of_all, left), point, gradients=asked)
            with torch.no_grad():
                if step == 0:
                    start_images = best_images = images.clone()
                    least = milestone = torch.full_like(rows[0], torch.inf)
                    kept_rows = rows
                if left is not None:  # the others keep their values
                    rows = kept_rows.index_copy(1, left, rows)
                    images = best_images.index_copy(0, left, images)
                    pairs = zip(variables, slopes, strict=asked)  # none at the last evaluation
                    slopes = [torch.zeros_like(v).index_copy(0, left, g) for v, g in pairs]
                history.append(torch.where(frozen, kept_rows, rows))
                failed = failed | ~frozen & ~torch.isfinite(rows[0])
                frozen = frozen | failed
                kept = ~frozen & (rows[0] < least) if self.keep_best else ~frozen
                least = torch.where(kept, rows[0], least)
                kept_rows = torch.where(kept, rows, kept_rows)
                best_step = torch.where(kept, step, best_step)
                best_images = torch.where(_over(kept, images), images, best_images)
                for b, v in zip(best, seen, strict=True):
                    b.copy_(torch.where(_over(kept, v), v, b))
                if self.early_stop is not None:
                    gained = rows[0] < milestone * (1 - self.early_stop_gain)
                    milestone = torch.where(gained, rows[0], milestone)
                    idle = torch.where(gained, 0, idle + 1)
                    frozen = frozen | (idle >= self.early_stop)
                    left = (~frozen).nonzero()[:, 0]
            if step == steps or (left is not None and not len(left)):
                break
            left = None if left is not None and len(left) == n else left
            factor = 1.0 if schedule is None else schedule(step / steps)
            with torch.no_grad():
                slopes = [torch.where(_over(frozen, g), 0.0, g) for g in slopes]
                stepping.step(slopes, rows[0], factor=factor)
                moved = variables if project is None else project(*variables)
                for v, m, b in zip(variables, moved, best, strict=True):
                    v.copy_(torch.where(_over(frozen, v), b, m))

        history += [kept_rows] * (steps + 1 - len(history))  # if all stopped early
        table = torch.stack(history, dim=1)  # [1 + terms, steps + 1, N]
        return Optimised(
            variables=tuple(best),
            images=best_images,
            start_images=start_images,
            losses=table[0],
            terms=dict(zip(evaluate.names, table[1:], strict=True)),
            best_step=best_step,
            failed=failed,
        )


class _Group:
    """Images that started together, and the next evaluation they need.

    Attributes:
        asked: their next evaluation.
        found: their result; None until they end.
        count: the number of images.
        done: steps done, summed over images; an image that has stopped counts with all its steps.
    """

    def __init__(
        self, path: Generator[Asked, Answer, Optimised], places: range, steps: int
    ) -> None:
        self.path, self.count, self.steps = path, len(places), steps
        self.asked, self.step, self.done = next(path), 0, 0
        self.found: Optimised | None = None

    def go_on(self, answer: Answer) -> None:
        """Take a step with the evaluation that was requested."""
        try:
            self.asked = self.path.send(answer)
            self.step += 1
            left = len(self.asked.rows)
        except StopIteration as end:
            self.found, left = end.value, 0
        self.done = left * self.step + (self.count - left) * self.steps


def _joined(found: Sequence[Optimised]) -> Optimised:
    """Concatenate the results of groups of images, in order."""
    rows = {name: torch.cat([getattr(each, name) for each in found]) for name in JOINED}
    columns = [{"losses": each.losses} | each.terms for each in found]
    terms = {name: torch.cat([each[name] for each in columns], dim=1) for name in columns[0]}
    several = zip(*(each.variables for each in found), strict=True)
    variables = tuple(torch.cat(each) for each in several)
    return Optimised(variables=variables, losses=terms.pop("losses"), terms=terms, **rows)


def _over(mask: Tensor, like: Tensor) -> Tensor:
    """View a mask [N] so that it broadcasts over `like` [N, ...]."""
    return mask.view(-1, *[1] * (like.ndim - 1))
