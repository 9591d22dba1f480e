"""D_w, which discriminates codes of the generator from codes of an encoder."""

from torch import Tensor, nn
from torch.nn import functional

from idinvert.errors import ConfigError
from idinvert.networks.layers import constructor_arguments

_SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """Maps codes to logits: dense layers with leaky ReLU between them.

    Args:
        features: Length of an input: w_dim for the code of one layer, L * w_dim for all layers.
        width: Width of the hidden layers.
        depth: Number of dense layers.

    Raises:
        ConfigError: ``depth`` leaves no hidden layer.

    Source:
        Latent discriminator of e4e (Tov et al. 2021, arXiv 2102.02766): 4 layers of width 512.
    """

    def __init__(self, *, features: int, width: int = 512, depth: int = 4) -> None:
        super().__init__()
        if depth < 2:
            raise ConfigError(f"latent discriminator: got depth {depth}, expected 2 or more")
        self.architecture = constructor_arguments(locals(), LatentDiscriminator)
        widths = [features] + [width] * (depth - 1) + [1]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(depth))

    def forward(self, codes: Tensor) -> Tensor:
        """Maps codes ``[N, features]`` to logits ``[N]``."""
        x = codes
        for layer in self.layers[:-1]:
            x = functional.leaky_relu(layer(x), _SLOPE)
        return self.layers[-1](x).squeeze(1)
