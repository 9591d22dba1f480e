"""The networks F: VGG16 up to relu4_3 (the paper's), and SqueezeNet 1.1 as a substitute."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.networks.layers import constructor_arguments

CAFFE_MEANS = (123.68, 116.779, 103.939)  # R, G, B of 0-255
CHANNEL_ORDERS = ("rgb", "bgr")
RELU4_3 = 23  # modules of VGG16's `features` up to this layer
VGG_TAPS = (1, 3, 13, 20)  # conv1_1, conv1_2, conv3_2, conv4_2, after their ReLU
LAYERS = 13
SQUEEZENET_TAPS = (1, 4, 7, 9, 10, 11, 12)  # the last of each size and width, as in LPIPS
INPUT_SCALES = ("caffe", "torchvision")
_TORCHVISION_MEANS = (0.485, 0.456, 0.406)  # R, G, B of 0-1
_TORCHVISION_STDS = (0.229, 0.224, 0.225)


class PerceptualNetwork(nn.Module):
    """A sequence of modules named ``features``, numbered as in torchvision.

    Args:
        features: The modules.
        resize: Side to which images are first resized, with nearest-neighbour interpolation as in
            the authors' code; None for no resizing.
    """

    weights_sha256: str | None = None  # of the file that the weights were read from

    def __init__(self, *, features: nn.Sequential, resize: int | None) -> None:
        super().__init__()
        self.features, self.resize = features, resize
        for module in features.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # returned outputs must not be overwritten

    def resized(self, images: Tensor) -> Tensor:
        """Resizes images ``[N, 3, H, W]`` to sides of `resize`."""
        if self.resize is None or images.shape[-2:] == (self.resize, self.resize):
            return images
        return functional.interpolate(images, size=(self.resize, self.resize), mode="nearest")

    def outputs(self, x: Tensor, places: Collection[int]) -> list[Tensor]:
        """Returns the outputs of the modules at these indices, each ``[N, C, h, w]``."""
        found = []
        for index, module in enumerate(self.features[: max(places) + 1]):
            x = module(x)
            if index in places:
                found.append(x)
        return found


class VGG16Features(PerceptualNetwork):
    """F: maps images to relu4_3, with weights that expect 0-255 minus the ImageNet means.

    Args:
        resize: As in `PerceptualNetwork`.
        channel_order: Order that the weights expect: ``"rgb"`` (torchvision's
            ``VGG16_Weights.IMAGENET1K_FEATURES``) or ``"bgr"`` (Caffe, Keras, the authors' file).

    Raises:
        ConfigError: Unknown channel order.

    Source:
        F of Eq. (2) and (4); Sec. 4.1 names conv4_3, the authors' code takes it after its ReLU.

    Differs from the paper:
        torchvision's transform for these weights subtracts means rounded to 123.0, 117.0, 104.0;
        here they are the authors' 123.68, 116.779, 103.939.
    """

    means: Tensor

    def __init__(self, *, resize: int | None = 256, channel_order: str = "rgb") -> None:
        if channel_order not in CHANNEL_ORDERS:
            raise ConfigError(
                f"VGG16: got channel order {channel_order!r}, expected one of "
                f"{list(CHANNEL_ORDERS)}; change perceptual.channel_order"
            )
        from torchvision.models.vgg import cfgs, make_layers  # slow to import, rarely needed

        super().__init__(features=make_layers(cfgs["D"])[:RELU4_3], resize=resize)
        self.architecture = constructor_arguments(locals(), VGG16Features)
        self.channel_order = channel_order
        means = torch.tensor(CAFFE_MEANS).view(1, 3, 1, 1)
        self.register_buffer("means", means, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, H, W]`` in [-1, 1], RGB, to relu4_3 ``[N, 512, h / 8, w / 8]``.

        ``h`` and ``w`` are `resize` if it is set, otherwise H and W.
        """
        return self.features(self._prepare(images))

    def taps(self, images: Tensor) -> list[Tensor]:
        """Maps images ``[N, 3, H, W]`` to four layers, each ``[N, C, h', w']``.

        conv1_1, conv1_2, conv3_2 and conv4_2 after their ReLU: the layers of Image2StyleGAN.
        """
        return self.outputs(self._prepare(images), VGG_TAPS)

    def embed(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, H, W]`` in [-1, 1] to ``[N, 512]``, the spatial mean of relu4_3."""
        return self(images).mean((2, 3))

    def _prepare(self, images: Tensor) -> Tensor:
        """Converts images to the size and scale that the weights expect."""
        x = (self.resized(images) + 1) * 127.5 - self.means
        return x.flip(1) if self.channel_order == "bgr" else x


class SqueezeNetFeatures(PerceptualNetwork):
    """F for photographs: maps images to a layer of torchvision's ``squeezenet1_1().features``.

    Args:
        layer: Index of the module whose output is returned, 0 to 12, as in torchvision; 12 is the
            last. The side is reduced by about 4, 8 and 16 from modules 2, 5 and 8 on.
        resize: As in `PerceptualNetwork`.
        input_scale: Scale that the weights expect: ``"caffe"`` (BGR, 0-255 minus 103.939, 116.779,
            123.68) or ``"torchvision"`` (RGB, 0-1, minus mean, divided by standard deviation).

    Raises:
        ConfigError: A value is invalid.

    Differs from the paper:
        The paper's F is VGG16. Values obtained with this network are named after it.
    """

    gains: Tensor
    means: Tensor

    def __init__(
        self, *, layer: int = 12, resize: int | None = None, input_scale: str = "caffe"
    ) -> None:
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
        from torchvision.models import squeezenet1_1

        super().__init__(features=squeezenet1_1(weights=None).features, resize=resize)
        self.architecture = constructor_arguments(locals(), SqueezeNetFeatures)
        self.layer, self.input_scale = layer, input_scale
        gains: tuple[float, ...]
        if input_scale == "caffe":
            gains, means = (127.5, 127.5, 127.5), [mean - 127.5 for mean in CAFFE_MEANS]
        else:
            gains = tuple(0.5 / std for std in _TORCHVISION_STDS)
            pairs = zip(_TORCHVISION_MEANS, _TORCHVISION_STDS, strict=True)
            means = [(mean - 0.5) / std for mean, std in pairs]
        self.register_buffer("gains", torch.tensor(gains).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("means", torch.tensor(means).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, H, W]`` in [-1, 1], RGB, to the output of `layer`, ``[N, C, h, w]``.

        Raises:
            ConfigError: The images are too small for the network's three poolings.
        """
        return self._run(images, last=self.layer)[-1]

    def taps(self, images: Tensor) -> list[Tensor]:
        """Maps images ``[N, 3, H, W]`` to the `SQUEEZENET_TAPS` before `layer`, and `layer`."""
        return self._run(images, last=self.layer)

    def embed(self, images: Tensor) -> Tensor:
        """Maps images ``[N, 3, H, W]`` in [-1, 1] to ``[N, 512]``, the last module's mean."""
        return self._run(images, last=LAYERS - 1)[-1].mean((2, 3))

    def _run(self, images: Tensor, *, last: int) -> list[Tensor]:
        images = self.resized(images)
        if min(images.shape[-2:]) < 17:
            raise ConfigError(
                f"SqueezeNet: got images {tuple(images.shape[-2:])}, expected a side of 17 or "
                "more; set perceptual.resize (224 is the side of its training)"
            )
        x = images * self.gains - self.means
        if self.input_scale == "caffe":
            x = x.flip(1)
        return self.outputs(x, {last, *(tap for tap in SQUEEZENET_TAPS if tap < last)})
