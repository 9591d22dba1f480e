"""VGG16 up to relu4_3 on the Caffe scale: the F of the paper."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from idinvert.errors import ConfigError

CAFFE_MEANS = (123.68, 116.779, 103.939)  # R, G, B of 0-255
RELU4_3 = 23  # modules of `features` up to this layer
CHANNEL_ORDERS = ("rgb", "bgr")
TAPS = (1, 3, 13, 20)  # modules of `features`: conv1_1, conv1_2, conv3_2, conv4_2, after their ReLU


class VGG16Features(nn.Module):
    """F: images to relu4_3, from weights that expect 0-255 minus the ImageNet means.

    ``features`` has torchvision's numbering (0 to 22), so that its state dicts fit.

    Args:
        resize: Side to which images are brought first, by nearest neighbour as the authors do;
            None leaves them as they are.
        channel_order: What the weights expect: ``"rgb"`` (torchvision's
            ``VGG16_Weights.IMAGENET1K_FEATURES``) or ``"bgr"`` (Caffe, Keras, the authors' file).

    Raises:
        ConfigError: Unknown channel order.

    Source:
        F of Eq. (2) and (4); Sec. 4.1 takes conv4_3, the authors' code after its ReLU.

    Differs from the paper:
        torchvision's transform for these weights subtracts means rounded to 123.0, 117.0, 104.0;
        here they are the authors' 123.68, 116.779, 103.939.
    """

    means: Tensor
    weights_sha256: str | None = None  # of the file they were read from

    def __init__(self, *, resize: int | None = 256, channel_order: str = "rgb") -> None:
        super().__init__()
        if channel_order not in CHANNEL_ORDERS:
            raise ConfigError(
                f"VGG16: got channel order {channel_order!r}, expected one of "
                f"{list(CHANNEL_ORDERS)}; change perceptual.channel_order"
            )
        self.architecture = {"resize": resize, "channel_order": channel_order}
        self.resize, self.channel_order = resize, channel_order
        self.features = make_layers(cfgs["D"])[:RELU4_3]
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an output handed out must stay what it was
        means = torch.tensor(CAFFE_MEANS).view(1, 3, 1, 1)
        self.register_buffer("means", means, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` in [-1, 1], RGB, to relu4_3 ``[N, 512, h / 8, w / 8]``.

        ``h`` and ``w`` are `resize` where it is set, else H and W.
        """
        return self.features(self._prepare(images))

    def taps(self, images: Tensor) -> list[Tensor]:
        """Images ``[N, 3, H, W]`` to four layers, each ``[N, C, h', w']``.

        conv1_1, conv1_2, conv3_2 and conv4_2 after their ReLU: the layers of Image2StyleGAN.
        """
        x, found = self._prepare(images), []
        for index, module in enumerate(self.features[: TAPS[-1] + 1]):
            x = module(x)
            if index in TAPS:
                found.append(x)
        return found

    def embed(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` in [-1, 1] to ``[N, 512]``, the spatial mean of relu4_3."""
        return self(images).mean((2, 3))

    def _prepare(self, images: Tensor) -> Tensor:
        """To the size and the scale that the weights expect."""
        if self.resize is not None and images.shape[-2:] != (self.resize, self.resize):
            images = functional.interpolate(images, size=(self.resize, self.resize), mode="nearest")
        x = (images + 1) * 127.5 - self.means
        return x.flip(1) if self.channel_order == "bgr" else x
