"""When G pays for path lengths, how much, and the mean length that it is to keep."""

from typing import Any

from torch import nn

from idinvert.training.limits import require_number


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
