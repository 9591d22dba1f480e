"""What follows every convolution of StyleGAN's generator."""

import torch
from torch import Tensor, nn

from idinvert.networks.layers import EqualLinear, lrelu


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm, style.

    Args:
        channels: Feature maps.
        w_dim: Width of w.

    Source: Karras et al. 2019, Fig. 1b; AdaIN, Eq. (1) there, with its scale as 1 + y_s.
    """

    def __init__(self, channels: int, *, w_dim: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = EqualLinear(w_dim, 2 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Maps x [N, C, H, W], w [N, w_dim] and noise [N or 1, 1, H, W] to [N, C, H, W]."""
        # In the type of x throughout: beside float32, what autocast made bfloat16 would grow again.
        if noise is not None:
            weight = self.noise_weight[:, None, None]
            x = torch.addcmul(x, noise.to(x.dtype), weight.to(x.dtype))
        x = lrelu(x + self.bias[:, None, None].to(x.dtype))
        x = x - x.mean(dim=(2, 3), keepdim=True)
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)  # each [N, C, 1, 1]
        power = x.square().mean(dim=(2, 3), keepdim=True)
        factor = (scale + 1) * (power + 1e-8).rsqrt()
        return torch.addcmul(shift.to(x.dtype), x, factor.to(x.dtype))
