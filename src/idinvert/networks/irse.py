"""IR-SE, the body of the pSp and e4e encoders: residual units with squeeze and excitation."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from idinvert.networks.backbone import batch_norm

IRSE50 = (3, 4, 14, 3)
"""Number of units in each of the four stages of the 50-layer body."""


class Features(NamedTuple):
    """Output of the last three stages of the body, from fine to coarse.

    Attributes:
        fine: Feature maps [N, 2c, S / 4, S / 4].
        middle: Feature maps [N, 4c, S / 8, S / 8].
        coarse: Feature maps [N, 8c, S / 16, S / 16].
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor


class SqueezeExcite(nn.Module):
    """Scales every feature map by a factor computed from the means of all feature maps.

    Args:
        channels: Number of feature maps.
        reduction: Factor by which the hidden layer is narrower.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, H, W] to the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)  # [N, C, 1, 1]
        return x * self.excite(self.squeeze(mean).relu()).sigmoid()


class Unit(nn.Module):
    """BN, convolution, PReLU, convolution, BN, squeeze and excitation; with a shortcut around them.

    If the width is unchanged, the shortcut keeps every stride-th pixel; otherwise it is a 1×1
    convolution and BN.

    Args:
        in_channels: Input maps.
        out_channels: Output maps.
        stride: Stride of the second convolution, 1 or 2.
        reduction: As in `SqueezeExcite`.
        norm: As in `batch_norm`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, reduction: int, norm: str
    ) -> None:
        super().__init__()
        self.stride = stride
        self.norm0 = batch_norm(channels=in_channels, norm=norm, scale=True)
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.prelu = nn.PReLU(out_channels)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = batch_norm(channels=out_channels, norm=norm, scale=True)
        self.attention = SqueezeExcite(out_channels, reduction=reduction)
        self.shortcut: nn.Module | None = None
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                batch_norm(channels=out_channels, norm=norm, scale=True),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C_in, H, W] to [N, C_out, ⌈H / stride⌉, ⌈W / stride⌉]."""
        y = self.conv1(self.prelu(self.conv0(self.norm0(x))))
        y = self.attention(self.norm1(y))
        if self.shortcut is None:
            return y + x[:, :, :: self.stride, :: self.stride]
        return y + self.shortcut(x)


class IRSE(nn.Module):
    """The body: a convolution at full size, then four stages, each of which halves the side.

    Args:
        channels: Feature maps of the first convolution and the first stage, c; doubled by each
            further stage.
        units: Number of units in each stage.
        reduction: As in `SqueezeExcite`.
        norm: As in `batch_norm`.

    Source: Deng et al. 2019 (arXiv 1801.07698), Hu et al. 2018 (arXiv 1709.01507); as used by the
        encoders of pSp (arXiv 2008.00951) and e4e (arXiv 2102.02766).
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        units: Sequence[int] = IRSE50,
        reduction: int = 16,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.norm = batch_norm(channels=channels, norm=norm, scale=True)
        self.prelu = nn.PReLU(channels)
        self.stages = nn.ModuleList()
        width = channels
        for stage, count in enumerate(units):
            before, width = width, channels * 2**stage
            self.stages.append(
                nn.Sequential(
                    *(
                        Unit(
                            before if i == 0 else width,
                            width,
                            stride=2 if i == 0 else 1,
                            reduction=reduction,
                            norm=norm,
                        )
                        for i in range(count)
                    )
                )
            )

    def forward(self, images: Tensor) -> Features:
        """Maps images [N, 3, S, S] in [-1, 1] to the features of the last three stages."""
        x = self.prelu(self.norm(self.conv(images)))
        seen = []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        return Features(fine=seen[1], middle=seen[2], coarse=seen[3])
