"""One class of a conditional network: the same codes and logits without a label."""

import pytest
import torch

from idinvert.errors import ConfigError
from idinvert.networks.one_class import discriminator_of_class, generator_of_class
from idinvert.networks.stylegan2 import StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

SIZES = {"resolution": 8, "channels": [6, 4]}


def conditional(**changed):
    torch.manual_seed(0)
    sizes = {"z_dim": 5, "w_dim": 6, "mapping_depth": 3, "c_dim": 3} | changed
    return StyleGAN2Generator(**SIZES, **sizes).double().eval()


@pytest.mark.parametrize("changed", [{"multi_w": True}, {"embed_dim": 4, "mapping_width": 7}])
def test_a_generator_of_a_class_gives_the_images_of_that_label(changed):
    whole = conditional(**changed)
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter)
    z = torch.randn(4, 5, dtype=torch.float64)
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in whole.state_dict().items()}
    for label in range(3):
        one = generator_of_class(whole, label).double()
        labels = torch.eye(3, dtype=torch.float64)[[label] * 4]
        torch.testing.assert_close(one.mapping(z), whole.mapping(z, labels), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(one(z), whole(z, labels), rtol=1e-5, atol=1e-5)
        assert one.c_dim == 0 and one.architecture["c_dim"] == 0 and not one.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("changed", [{}, {"cmap_dim": 5, "cmap_depth": 2, "fc_width": 7}])
def test_a_discriminator_of_a_class_gives_the_logits_of_that_label(changed):
    torch.manual_seed(0)
    whole = StyleGAN2Discriminator(**SIZES, c_dim=3, **changed).double()
    torch.nn.init.normal_(whole.out.bias)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for label in range(3):
        one = discriminator_of_class(whole, label).double()
        expected = whole(x, torch.eye(3, dtype=torch.float64)[[label] * 4])
        torch.testing.assert_close(one(x), expected, rtol=1e-5, atol=1e-6)


def test_there_must_be_such_a_class():
    with pytest.raises(ConfigError, match="the generator has the classes 0 to 2"):
        generator_of_class(conditional(), 3)
    with pytest.raises(ConfigError, match="the generator is unconditional: leave"):
        generator_of_class(conditional(c_dim=0), 0)
