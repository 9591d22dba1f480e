"""Running averages of GAN training: of G's weights, and of path lengths."""

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
        average: The averaged copy, which is saved (the paper's frozen G is this copy).
        network: The network being trained.
        batch_size: Number of images in this step, over all ranks.
        nimg: Images seen before this step.
        half_life_nimg: Number of images after which the weight of an old value has halved.
        rampup: Upper bound of the half-life as a fraction of the images seen; ``None`` disables it.

    Returns:
        The decay used.
    """
    half_life = half_life_nimg
    if rampup is not None:
        half_life = min(half_life, rampup * (nimg + batch_size))
    decay = 0.5 ** (batch_size / max(half_life, 1e-8))
    # Fused over all tensors: on a GPU a launch for each tensor takes longer than the arithmetic.
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)
    if copies := list(average.buffers()):
        torch._foreach_copy_(copies, list(network.buffers()))
    return decay


class PathLength(nn.Module):
    """Settings of path-length regularisation, and the running mean a of the path lengths.

    Args:
        every: Steps between two penalties; each is multiplied by ``every``.
        weight: Weight of the penalty.
        decay: Fraction by which the mean moves towards the lengths of each penalty.
        shrink: The penalty uses one in ``shrink`` images of a step.

    Raises:
        ConfigError: A number is out of range.

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
        """Returns the mean length, for ``state_dict``."""
        return {"mean": self.mean}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores it from ``load_state_dict``."""
        self.mean = float(state["mean"])

    def follow(self, mean: float) -> None:
        """Moves the mean towards the mean length of one penalty over all ranks."""
        self.mean += self.decay * (mean - self.mean)
