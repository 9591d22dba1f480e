"""SqueezeNet 1.1 features: a small stand-in where VGG16 or Inception cannot be had."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import squeezenet1_1

from idinvert.errors import ConfigError

LAYERS = 13
TAPS = (1, 4, 7, 9, 10, 11, 12)  # the last module of each size and width, as LPIPS takes them
INPUT_SCALES = ("caffe", "torchvision")
_CAFFE_MEANS = (123.68, 116.779, 103.939)  # R, G, B of 0-255
_TORCHVISION_MEANS = (0.485, 0.456, 0.406)  # R, G, B of 0-1
_TORCHVISION_STDS = (0.229, 0.224, 0.225)


class SqueezeNetFeatures(nn.Module):
    """F for photographs: images to one layer of torchvision's ``squeezenet1_1().features``.

    Args:
        layer: Module whose output is returned, 0 to 12, torchvision's numbering; 12 is the last.
            The side shrinks by about 4, 8 and 16 from modules 2, 5 and 8 on.
        resize: Side to which images are brought first, by nearest neighbour; None leaves them.
        input_scale: What the weights expect: ``"caffe"`` (BGR, 0-255 minus 103.939, 116.779,
            123.68) or ``"torchvision"`` (RGB, 0-1, minus mean, by standard deviation).

    Raises:
        ConfigError: A value is not one of these.

    Differs from the paper:
        The paper's F is VGG16. Values obtained with this network are named after it.
    """

    gains: Tensor
    means: Tensor
    weights_sha256: str | None = None  # of the file they were read from

    def __init__(
        self, *, layer: int = 12, resize: int | None = None, input_scale: str = "caffe"
    ) -> None:
        super().__init__()
        if not 0 <= layer < LAYERS:
            raise ConfigError(
                f"SqueezeNet: got layer {layer}, expected 0 to {LAYERS - 1}; "
                "change perceptual.layer"
            )
        if input_scale not in INPUT_SCALES:
            raise ConfigError(
                f"SqueezeNet: got input scale {input_scale!r}, expected one of "
                f"{list(INPUT_SCALES)}; change perceptual.input_scale"
            )
        self.architecture = {"layer": layer, "resize": resize, "input_scale": input_scale}
        self.layer, self.resize, self.input_scale = layer, resize, input_scale
        self.features = squeezenet1_1(weights=None).features
        for module in self.features.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an output handed out must stay what it was
        gains: tuple[float, ...]
        if input_scale == "caffe":
            gains, means = (127.5, 127.5, 127.5), [mean - 127.5 for mean in _CAFFE_MEANS]
        else:
            gains = tuple(0.5 / std for std in _TORCHVISION_STDS)
            pairs = zip(_TORCHVISION_MEANS, _TORCHVISION_STDS, strict=True)
            means = [(mean - 0.5) / std for mean, std in pairs]
        self.register_buffer("gains", torch.tensor(gains).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("means", torch.tensor(means).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` in [-1, 1], RGB, to the output of `layer`, ``[N, C, h, w]``.

        Raises:
            ConfigError: The images are too small for the network's three poolings.
        """
        return self._run(images, last=self.layer)[-1]

    def taps(self, images: Tensor) -> list[Tensor]:
        """Images ``[N, 3, H, W]`` to the layers of `TAPS` up to `layer`, and `layer` itself."""
        return self._run(images, last=self.layer)

    def embed(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` in [-1, 1] to ``[N, 512]``, the last layer's spatial mean."""
        return self._run(images, last=LAYERS - 1)[-1].mean((2, 3))

    def _run(self, images: Tensor, *, last: int) -> list[Tensor]:
        if self.resize is not None and images.shape[-2:] != (self.resize, self.resize):
            images = functional.interpolate(images, size=(self.resize, self.resize), mode="nearest")
        if min(images.shape[-2:]) < 17:
            raise ConfigError(
                f"SqueezeNet: got images {tuple(images.shape[-2:])}, expected a side of 17 or "
                "more; set perceptual.resize (224 is the side of its training)"
            )
        x = images * self.gains - self.means
        if self.input_scale == "caffe":
            x = x.flip(1)
        found = []
        for index, module in enumerate(self.features[: last + 1]):
            x = module(x)
            if index in TAPS or index == last:
                found.append(x)
        return found
