"""The running averages of a GAN's training: of G's weights, and of the lengths of its paths."""

from typing import Any

import torch
from torch import Tensor, nn

from idinvert.errors import require_number


@torch.no_grad()
def update_ema(
    average: nn.Module,
    network: nn.Module,
    *,
    batch_size: int,
    nimg: int,
    half_life_nimg: float,
    rampup: float | None = 0.05,
) -> float:
    """Moves ``average`` towards ``network``.

    Args:
        average: The copy that is shipped (the paper's frozen G is this copy).
        network: The network that is trained.
        batch_size: Images of this step, over all ranks.
        nimg: Images seen before this step.
        half_life_nimg: Images after which an old weight counts half.
        rampup: The half-life is at most this share of the images seen; ``None`` switches it off.

    Returns:
        The decay that was used.
    """
    half_life = half_life_nimg
    if rampup is not None:
        half_life = min(half_life, rampup * (nimg + batch_size))
    decay = 0.5 ** (batch_size / max(half_life, 1e-8))
    # All tensors in a few launches: on a GPU one a tensor takes longer than the sums.
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    if copies := list(average.buffers()):
        torch._foreach_copy_(copies, list(network.buffers()))
    return decay


class PathLength(nn.Module):
    """Settings of path-length regularisation, and the running mean a of its lengths.

    Args:
        every: Steps between two penalties; each counts ``every`` times.
        weight: Weight of the penalty.
        decay: How far the mean moves towards a penalty's own lengths.
        shrink: A penalty takes one image in so many of a step's.

    Raises:
        ConfigError: A number is out of its range.

    Source:
        Karras et al. 2020 (arXiv 1912.04958), Eq. (4) and Appendix B.
    """

    def __init__(self, *, every: int, weight: float, decay: float, shrink: int) -> None:
        super().__init__()
        key = "objective.path_length"
        require_number(f"{key}_every", every, low=1, whole=True)
        require_number(f"{key}_weight", weight, low=0)
        require_number(f"{key}_decay", decay, low=0, high=1)
        require_number(f"{key}_shrink", shrink, low=1, whole=True)
        self.every, self.weight, self.decay, self.shrink = every, weight, decay, shrink
        self.mean = 0.0

    def get_extra_state(self) -> dict[str, Any]:
        """The mean length, for ``state_dict``."""
        return {"mean": self.mean}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes it back from ``load_state_dict``."""
        self.mean = float(state["mean"])

    def follow(self, mean: float) -> None:
        """Moves the mean towards that of the lengths of one penalty, of all ranks."""
        self.mean += self.decay * (mean - self.mean)
