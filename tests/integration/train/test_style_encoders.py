"""encoder=e4e and encoder=psp as choices of a run: trained, saved and opened again."""

import contextlib

import pytest

from idinvert.checkpoints.release import load_network, read_header
from idinvert.errors import DivergenceError
from idinvert.networks.psp_encoder import E4eEncoder, PspEncoder

# With fewer than 8 channels, the backward pass of torch 2.15 writes past its memory on some CPUs.
TINY = ("encoder.channels=8", "encoder.input_size=32", "encoder.reduction=1", "nimg=16")


@pytest.mark.parametrize(("name", "kind"), [("e4e", E4eEncoder), ("psp", PspEncoder)])
def test_a_run_with_a_style_encoder(train_tiny, tmp_path, name, kind):
    with contextlib.suppress(DivergenceError):  # four steps need not lead below G of the mean code
        train_tiny("domain_guided", f"encoder={name}", *TINY)
    (path,) = (tmp_path / "outputs").rglob("weights/encoder.safetensors")
    encoder = load_network(path, key="encoder.path", expect="encoder")
    assert isinstance(encoder, kind)
    choices = read_header(path).provenance["choices"]
    assert choices["encoder"]["name"] == name and choices["encoder"]["channels"] == 8
    assert choices["latent"]["deltas"] is (name == "e4e")
