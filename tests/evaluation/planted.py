"""A generator with a unit that draws a class, and the segmenter that reads it."""

import torch
from torch import nn
from torch.nn.functional import interpolate

from idinvert.networks.generator import SynthesisState

R = 16
DRAWS = 2
"""The unit that draws the square."""


class Planted(nn.Module):
    """Two layers of four units; unit 2 draws a square where the code says, a little lighter."""

    def __init__(self):
        super().__init__()
        self.resolution, self.z_dim, self.w_dim, self.num_layers = R, 2, 2, 3
        self.noise_shapes = [(R // 2, R // 2), (R, R)]
        self.register_buffer("w_avg", torch.zeros(3, 2))

    def mapping(self, z):
        return z[:, None].expand(-1, 3, -1)

    def synthesis(self, codes, noise="const", *, stop=None, resume=None, rng=None):
        last = 3 if stop is None else stop
        state = resume or SynthesisState(torch.zeros(len(codes), 4, 1, 1), None, 0)
        for k in range(state.layer, last):
            if k == 0:
                side = torch.arange(R // 2) - R // 4
                at = codes[:, 0].clamp(-1, 1) * 2
                x = (side - at[:, 0, None].round()).abs() < 2
                y = (side - at[:, 1, None].round()).abs() < 2
                square = (y[:, :, None] & x[:, None, :]).float()
                noisy = noise[0][:, 0] if not isinstance(noise, str) else square * 0
                drawn = square * (1 + 0.1 * noisy)
                maps = torch.stack([noisy, square * 0, drawn, -square], 1)
            elif k == 1:
                maps = interpolate(state.features, scale_factor=2.0)
            else:
                maps = state.features
            image = 0.2 * maps[:, DRAWS : DRAWS + 1].expand(-1, 3, -1, -1) - 0.2 if k == 2 else None
            state = SynthesisState(maps, image, k + 1)
        return state.image if stop is None else state


class ReadsSquares(nn.Module):
    """The segmenter of such images, which is right, and smooth enough for gradients."""

    classes, resolution = ("ground", "square"), R

    def forward(self, images):
        logit = 40 * (images.mean(1) + 0.1)
        return torch.stack([-logit, logit], 1)

    def segment(self, images):
        return self(images).argmax(1).to(torch.uint8)
