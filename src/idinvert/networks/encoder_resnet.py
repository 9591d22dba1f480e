"""ResNet-18, 34 and 50 as backbones of E (Table 3)."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from idinvert.annotations import Norm, PositiveInt, Resolution
from idinvert.errors import ConfigError
from idinvert.networks.backbone import (
    Backbone,
    he_initialise,
    kept_strides,
    named_norm,
    zero_residual_branches,
)
from idinvert.networks.layers import constructor_arguments

LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}
"""Depth -> torchvision's block, and the number of blocks in each of the four stages."""
_PLACES = 5  # stem, max pooling, and the first blocks of stages 2 to 4


class ResNetBackbone(Backbone):
    """Maps images to a 4x4 feature map: a ResNet without its pooling and classifier, untrained.

    A ResNet halves the side five times: stem, max pooling, stages 2, 3 and 4. From 256 px up,
    stages of one block, as wide as the last stage, halve it further down to 4x4. Below 128 px the
    earliest halvings are left out: first the max pooling, then the stride of the stem, whose
    kernel is then 3x3 instead of 7x7, then the strides of stages 2 and 3.

    ==========  ===========  =======  ==========================  ============
    resolution  stem         pooling  strides of stages 1 to 4    extra stages
    ==========  ===========  =======  ==========================  ============
    8           3x3, /1      no       1, 1, 1, 2                  0
    16          3x3, /1      no       1, 1, 2, 2                  0
    32          3x3, /1      no       1, 2, 2, 2                  0
    64          7x7, /2      no       1, 2, 2, 2                  0
    128         7x7, /2      yes      1, 2, 2, 2                  0
    256         7x7, /2      yes      1, 2, 2, 2                  1
    1024        7x7, /2      yes      1, 2, 2, 2                  3
    ==========  ===========  =======  ==========================  ============

    Parameters have the same names as in torchvision.

    Args:
        resolution: Side of the images, a power of two, at least 8.
        depth: 18, 34 or 50.
        width: Channels of the stem and the first stage; 64 in the original, doubled by each stage.
        norm: ``"batch"`` (statistics per rank), ``"sync"`` (over all ranks) or ``"none"``.

    Raises:
        ConfigError: A value is invalid.

    Source:
        Sec. 5.1, Table 3; He et al. 2016 (arXiv 1512.03385).

    Differs from the paper:
        The paper's stem and stages are unpublished. The extra stage at 256 px is that of the
        GH-Feat encoder of the same group; the rule for other sizes is ours. ``norm="none"`` is
        ours; its residual branches start at zero.
    """

    def __init__(
        self,
        *,
        resolution: Resolution,
        depth: Literal[18, 34, 50] = 18,
        width: PositiveInt = 64,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if depth not in LAYOUTS:
            raise ConfigError(
                f"encoder: got depth {depth}, expected one of {sorted(LAYOUTS)}; "
                "change encoder.backbone.depth"
            )
        self.architecture = constructor_arguments(locals(), ResNetBackbone)
        self.resolution, self.name = resolution, f"resnet{depth}"
        # The stem precedes the pooling in the network, but small images drop the pooling first.
        (pool, stem, *steps), extra = kept_strides(resolution, places=_PLACES)
        block, counts = LAYOUTS[depth]
        normalise = partial(named_norm, norm=norm)
        kernel = 7 if stem == 2 else 3
        self.conv1 = nn.Conv2d(3, width, kernel, stride=stem, padding=kernel // 2, bias=False)
        self.bn1 = normalise(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pool == 2 else nn.Identity()
        side, channels = resolution // stem, width
        self.channels_at = {side: channels}
        side //= pool
        self.stages = [f"layer{i + 1}" for i in range(len(counts) + extra)]
        for i, name in enumerate(self.stages):
            first = 1 if i == 0 else steps[i - 1] if i < len(counts) else 2
            planes = width * 2 ** min(i, len(counts) - 1)
            stage = nn.Sequential()
            for k in range(counts[i] if i < len(counts) else 1):
                stride, out = (first if k == 0 else 1), planes * block.expansion
                shortcut = None
                if stride != 1 or channels != out:
                    conv = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
                    shortcut = nn.Sequential(conv, normalise(out))
                stage.append(block(channels, planes, stride, shortcut, norm_layer=normalise))
                channels = out
            self.add_module(name, stage)
            side //= first
            self.channels_at[side] = channels
        self.out_channels = channels
        he_initialise(self)
        if norm == "none":
            last = "conv2" if block is BasicBlock else "conv3"
            blocks = [part for part in self.modules() if type(part) is block]
            zero_residual_branches([getattr(part, last) for part in blocks])

    def steps(self) -> Sequence[nn.Module]:
        """Stem, pooling and stages."""
        stages = [self.get_submodule(name) for name in self.stages]
        return [self.conv1, self.bn1, self.relu, self.maxpool, *stages]
