"""A batched canvas: layers of antialiased coverage painted over one another, with a class map."""

import torch
from torch import Tensor

Colour = tuple[float, float, float]


def grid(size: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns pixel centres of a square image, x to the right and y down, both in (-1, 1).

    Returns:
        x float32 `[1, 1, size]` and y float32 `[1, size, 1]`.
    """
    centre = (torch.arange(size, dtype=torch.float64, device=device) + 0.5) * (2.0 / size) - 1.0
    centre = centre.to(torch.float32)
    return centre[None, None, :], centre[None, :, None]


def column(value: Tensor) -> Tensor:
    """Converts `[N]` in float64 to `[N, 1, 1]` in float32."""
    return value.to(torch.float32)[:, None, None]


def rgb(value: Tensor) -> Tensor:
    """Converts `[N, 3]` in float64 to `[N, 3, 1, 1]` in float32."""
    return value.to(torch.float32)[:, :, None, None]


def palette(position: Tensor, colours: tuple[Colour, ...]) -> Tensor:
    """Interpolates colours along a polyline of `colours`.

    Args:
        position: `[N]`, -1 is the first colour and 1 the last.
        colours: RGB in [0, 1].

    Returns:
        `[N, 3]` in the dtype of `position`.
    """
    table = position.new_tensor(colours)  # [K, 3]
    place = (position.clamp(-1.0, 1.0) + 1.0) * 0.5 * (len(colours) - 1)
    low = place.floor().clamp(max=len(colours) - 2).long()
    return torch.lerp(table[low], table[low + 1], (place - low)[:, None])


def smoothstep(x: Tensor, low: float, high: float) -> Tensor:
    """Returns 0 below `low`, 1 above `high`, and a cubic interpolation between."""
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class Canvas:
    """Images being drawn.

    Attributes:
        colour: float32 `[N, 3, S, S]`, RGB, about [0, 1].
        classes: uint8 `[N, S, S]`, the class of the topmost layer that covers most of a sample.
        sample: Width of one sample in units of the grid, which is the width of soft edges.

    Args:
        background: float32 `[N, 3, S, S]`.
        parts: Names of the classes; the first is the background's.
        zoom: Magnification of the drawing relative to the grid.
    """

    def __init__(self, *, background: Tensor, parts: tuple[str, ...], zoom: float = 1.0) -> None:
        self.colour = background.clone()
        n, _, size, _ = background.shape
        self.classes = background.new_zeros((n, size, size), dtype=torch.uint8)
        self.sample = 2.0 / size / zoom
        self._value = {name: i for i, name in enumerate(parts)}

    def cover(self, distance: Tensor, *, soft: float = 1.0) -> Tensor:
        """Returns coverage in [0, 1] of a signed distance (negative inside); soft in samples."""
        return (0.5 - distance / (self.sample * soft)).clamp_(0.0, 1.0)

    def ellipse(
        self, x: Tensor, y: Tensor, half_x: Tensor | float, half_y: Tensor | float
    ) -> Tensor:
        """Returns the coverage of an ellipse about the origin of (x, y)."""
        small = torch.as_tensor(half_x).minimum(torch.as_tensor(half_y)).to(x.device)
        return self.cover((((x / half_x) ** 2 + (y / half_y) ** 2).sqrt() - 1.0) * small)

    def paint(self, colour: Tensor, alpha: Tensor, part: str = "") -> None:
        """Blends `colour` (`[N, 3, 1, 1]` or `[N, 3, S, S]`) over the image with opacity `alpha`.

        Args:
            colour: RGB in [0, 1].
            alpha: `[N, S, S]` in [0, 1].
            part: Class assigned to samples covered by more than a half; empty keeps their class.
        """
        self.colour = torch.lerp(self.colour, colour, alpha[:, None])
        if part:
            self.mark(alpha > 0.5, part)

    def mark(self, area: Tensor, part: str) -> None:
        """Sets the class of the samples in `area`, bool `[N, S, S]`."""
        self.classes.masked_fill_(area, self._value[part])

    def shade(self, factor: Tensor) -> None:
        """Multiplies all channels by `factor` `[N, S, S]`."""
        self.colour = self.colour * factor[:, None]

    def finish(self) -> tuple[Tensor, Tensor]:
        """Averages 2x2 samples to pixels.

        Returns:
            uint8 images `[N, 3, R, R]` and uint8 classes `[N, R, R]` with R = S / 2. The class is
            the upper median of the four samples' classes, so that thin parts, which have high class
            numbers, survive if they fill half a pixel.
        """
        c = self.colour
        mean = c[..., ::2, ::2] + c[..., 1::2, ::2] + c[..., ::2, 1::2] + c[..., 1::2, 1::2]
        pictures = (mean * (255.0 / 4.0)).clamp_(0.0, 255.0).round_().to(torch.uint8)
        k = self.classes
        p, q, r, s = k[:, ::2, ::2], k[:, 1::2, ::2], k[:, ::2, 1::2], k[:, 1::2, 1::2]
        low, high = p.minimum(q), p.maximum(q)
        low_2, high_2 = r.minimum(s), r.maximum(s)
        return pictures, low.maximum(low_2).maximum(high.minimum(high_2))
