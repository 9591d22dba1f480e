"""MobileNetV2 as a backbone of E (Table 3)."""

from collections.abc import Sequence
from functools import partial

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from idinvert.annotations import Norm, PositiveFloat, Resolution
from idinvert.networks.backbone import (
    Backbone,
    he_initialise,
    kept_strides,
    named_norm,
    zero_residual_branches,
)
from idinvert.networks.layers import constructor_arguments

LAYOUT = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Expansion, channels and number of blocks of each stage."""
HALVING = (1, 2, 3, 5)
"""Indices of the stages whose first block halves the side; the stem halves it too."""
_STEM = 32
_DIVISOR = 8


class MobileNetBackbone(Backbone):
    """Maps images to a 4x4 feature map: MobileNetV2 without its classifier, untrained.

    It halves the side five times: in the stem and in four stages. From 256 px up, further inverted
    residuals as wide as the last stage halve it down to 4x4. Below 128 px the earliest halvings are
    left out, the stem's first: at 32 px the stem and the first halving stage keep the side.

    Args:
        resolution: Side of the images, a power of two, at least 8.
        width: Factor on all channels, rounded to multiples of 8.
        norm: ``"batch"`` (statistics per rank), ``"sync"`` (over all ranks) or ``"none"``.

    Raises:
        ConfigError: The resolution or the norm is invalid.

    Source:
        Sec. 5.1, Table 3; Sandler et al. 2018 (arXiv 1801.04381).

    Differs from the paper:
        The paper does not say which MobileNet, nor how it ends at 4x4. The 1x1 convolution to 1,280
        channels belongs to the classifier and is left out: flattened, it would make the last dense
        layer alone larger than ResNet-34's. ``norm="none"`` is ours; its residual branches start
        at zero.
    """

    def __init__(
        self, *, resolution: Resolution, width: PositiveFloat = 1.0, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.architecture = constructor_arguments(locals(), MobileNetBackbone)
        self.resolution, self.name = resolution, "mobilenet"
        (stem, *steps), extra = kept_strides(resolution, places=1 + len(HALVING))
        normalise = partial(named_norm, norm=norm)
        channels, side = _scaled(_STEM, width), resolution // stem
        self.stem = Conv2dNormActivation(
            3, channels, stride=stem, norm_layer=normalise, activation_layer=nn.ReLU6
        )
        self.channels_at = {side: channels}
        self.stages = nn.ModuleList()
        strides = [steps[HALVING.index(i)] if i in HALVING else 1 for i in range(len(LAYOUT))]
        layout = [*LAYOUT] + [(*LAYOUT[-1][:2], 1)] * extra
        for (expansion, wanted, count), first in zip(layout, strides + [2] * extra, strict=True):
            stage = nn.Sequential()
            for k in range(count):
                out = _scaled(wanted, width)
                stage.append(
                    InvertedResidual(channels, out, first if k == 0 else 1, expansion, normalise)
                )
                channels = out
            self.stages.append(stage)
            side //= first
            self.channels_at[side] = channels
        self.out_channels = channels
        he_initialise(self)
        if norm == "none":
            blocks = [part for part in self.modules() if isinstance(part, InvertedResidual)]
            zero_residual_branches([block.conv[-2] for block in blocks if block.use_res_connect])  # type: ignore[misc]

    def steps(self) -> Sequence[nn.Module]:
        """The stem and the stages."""
        return [self.stem, *self.stages]


def _scaled(channels: int, width: float) -> int:
    """Returns ``channels * width`` rounded to the nearest multiple of 8, at least 8."""
    return max(_DIVISOR, int(channels * width / _DIVISOR + 0.5) * _DIVISOR)
