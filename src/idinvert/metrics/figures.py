"""What was measured: each figure with its protocol and its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from idinvert.metrics.bootstrap import RESAMPLES, WORDS, Interval, mean_interval
from idinvert.metrics.protocol import protocol


@dataclass
class Figures:
    """Figures by name; `a | b` joins two, the later one's over the earlier.

    Attributes:
        metrics: name to value.
        protocol: name to one line on how it was measured.
        intervals: name to the low and high end of the 95 % interval, where there is one.
        of_sets: whether distances between sets are among them.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    of_sets: bool = False

    def __or__(self, other: "Figures") -> "Figures":
        return Figures(
            self.metrics | other.metrics,
            self.protocol | other.protocol,
            self.intervals | other.intervals,
            self.of_sets or other.of_sets,
        )

    def add(self, name: str, value: float, text: str, pair: Interval | None = None) -> None:
        """One figure more."""
        self.metrics[name], self.protocol[name] = value, text
        if pair is not None:
            self.intervals[name] = pair

    def add_mean(self, name: str, values: Tensor, *, seed: int, text: str | None = None) -> None:
        """The mean over images of values [N], with its interval.

        Args:
            name: of the figure.
            values: one an image.
            seed: of the resamples.
            text: its protocol; None for that of the metric of this name.
        """
        pair = mean_interval(values, seed=seed)
        words = protocol(name) if text is None else text
        if pair is not None:
            words += f"; {WORDS.format(resamples=RESAMPLES)}"
        self.add(name, values.double().mean().item(), words, pair)

    def with_detail(self, detail: str) -> "Figures":
        """The same, with `detail` at the end of every protocol."""
        words = {name: f"{text}; {detail}" for name, text in self.protocol.items()}
        return replace(self, protocol=words)

    def renamed(self, prefix: str, texts: Mapping[str, str]) -> "Figures":
        """The same under `<prefix><name>`, with other protocols."""
        return Figures(
            {f"{prefix}{name}": value for name, value in self.metrics.items()},
            {f"{prefix}{name}": text for name, text in texts.items()},
            {f"{prefix}{name}": pair for name, pair in self.intervals.items()},
            self.of_sets,
        )
