"""e4e, pSp, ReStyle and HyperStyle files: the decoder, the mean code, and whose encoder it is."""

import pytest
import torch

from idinvert.checkpoints.families import encoder4editing, rosinality
from idinvert.errors import CheckpointError
from idinvert.networks.psp_encoder import E4eEncoder, PspEncoder

from .checks import KEY, archive, check_generator, whole
from .psp_encoders_files import encoder_state, options
from .reference import double, normal
from .rosinality_files import Rosinality

CHANNELS = (4, 3, 2, 2)  # 32 px: 8 layers, as the encoder has heads


def content(kind: str | None = "Encoder4Editing", *, mean: bool = True, **changes):
    """A file as the authors' training writes it."""
    files = Rosinality(channels=CHANNELS)
    state = {f"decoder.{name}": value for name, value in files.g.items()}
    if kind is not None:
        state |= {f"encoder.{name}": value for name, value in encoder_state(kind).items()}
    found = {
        "state_dict": state,
        "opts": options(kind or "Encoder4Editing"),
        "latent_avg": files.latent_avg[None].repeat(8, 1) if mean else files.latent_avg,
        "discriminator_state_dict": {"fc.weight": torch.zeros(2, 2)},
    }
    return files, found | changes


def read(found, network: str | None = None):
    assert encoder4editing.recognise(archive(found)) and not rosinality.recognise(archive(found))
    return encoder4editing.read(archive(found), key=KEY, network=network)


@pytest.mark.parametrize("repeated", [True, False])
def test_the_decoder_is_the_generator(repeated):
    files, found = content(None, mean=repeated)
    networks = read(found)
    g = double(files.g)
    check_generator(
        networks.generator,
        synthesis=lambda w: files.synthesis(g, w),
        mapping=lambda z: files.mapping(g, z),
    )
    assert torch.equal(networks.generator.w_avg, files.latent_avg.expand(8, 6))
    assert networks.latent_avg.shape == ((8, 6) if repeated else (6,))
    assert networks.encoder is None and networks.discriminator is None
    assert networks.meta["encoder"] is None


@pytest.mark.parametrize(
    ("kind", "made", "whose"),
    [("Encoder4Editing", E4eEncoder, "e4e"), ("GradualStyleEncoder", PspEncoder, "psp")],
)
def test_the_encoder_is_read_with_the_mean_code(kind, made, whose):
    files, found = content(kind)
    networks = read(found)
    assert type(networks.encoder) is made and networks.meta["encoder"] == whose
    assert networks.encoder.num_layers == networks.generator.num_layers
    assert torch.equal(networks.encoder.w_offset, files.latent_avg.expand(8, 6))
    assert not networks.encoder.training
    codes = networks.encoder(normal(1, 3, 32, 32, seed=1))
    assert networks.generator.synthesis(codes).shape == (1, 3, 32, 32)


def test_encoders_that_look_at_reconstructions_are_left():
    _, found = content()
    first = "encoder.input_layer.0.weight"
    found["state_dict"][first] = found["state_dict"][first].repeat(1, 2, 1, 1)
    found["opts"]["input_nc"] = 6
    networks = read(found)
    assert networks.encoder is None and networks.meta["encoder"] == "other"
    _, found = content(None)
    found["state_dict"]["hypernet.conv1.weight"] = torch.zeros(2)
    found["state_dict"]["w_encoder.input_layer.0.weight"] = torch.zeros(2)
    networks = read(found)
    assert networks.encoder is None and networks.meta["encoder"] == "hyperstyle"
    assert networks.generator is not None


def test_what_does_not_fit_is_named_under_its_network():
    _, found = content()
    del found["state_dict"]["decoder.convs.1.activate.bias"]
    with pytest.raises(
        CheckpointError, match=r"network decoder: .*missing: convs\.1\.activate\.bias"
    ):
        whole(read(found))
    _, found = content()
    del found["state_dict"]["encoder.body.3.res_layer.1.weight"]
    with pytest.raises(CheckpointError, match=r"network encoder: .*body\.3\.res_layer\.1\.weight"):
        whole(read(found))
    _, found = content(None)
    found["state_dict"]["surplus.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"extra: surplus\.weight.*generator\.path"):
        whole(read(found))


def test_there_is_one_generator():
    _, found = content(None)
    assert read(found, "g_ema").meta["network"] == read(found, "decoder").meta["network"]
    with pytest.raises(CheckpointError, match=r"no generator 'g', expected one of \['decoder'\]"):
        read(found, "g")


@pytest.mark.parametrize("other", [None, [], {}, {"state_dict": 1}, {"state_dict": {"a": 1}}])
def test_other_files_are_not_taken(other):
    assert not encoder4editing.recognise(archive(other))
