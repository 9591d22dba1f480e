"""D as an encoder's training starts from it."""

from pathlib import Path

import pytest

from idinvert.checkpoints.release import save_network
from idinvert.cli.assemble import starting_discriminator
from idinvert.errors import ConfigError
from idinvert.evaluation.networks import Contents
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator


@pytest.mark.parametrize("init", ["generator", "checkpoint"])
def test_a_discriminator_that_wants_labels_is_refused(tmp_path: Path, init: str) -> None:
    sizes = {"resolution": 8, "channels": [4, 4], "c_dim": 3}
    generator = StyleGAN2Generator(z_dim=4, w_dim=4, mapping_depth=2, **sizes)
    save_network(generator, tmp_path / "generator.safetensors", provenance={})
    discriminator = StyleGAN2Discriminator(**sizes)
    save_network(discriminator, tmp_path / "discriminator.safetensors", provenance={})
    node = {"init": init, "path": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"labels of 3 numbers.*discriminator\.init=scratch"):
        starting_discriminator(node, generator_path=str(tmp_path), contents=Contents())
