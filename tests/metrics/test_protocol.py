"""Every name that a record can carry has a protocol."""

import importlib.metadata

import pytest

from idinvert.errors import ConfigError
from idinvert.metrics.protocol import protocol

NAMES = (
    "mse psnr ssim swd swd_16 swd_floor fd_attributes_floor kid_floor prc_recall_floor fid kid "
    "kid_std isc isc_std prc prc_recall lpips_alex lpips_vgg lpips_squeeze fd_attributes "
    "fd_squeezenet kd_attributes seconds_per_image agreement agreement_eyeglasses correlation_pose"
)


def test_every_name_has_one_line():
    for name in NAMES.split():
        text = protocol(name)
        assert text and not {"\n", "{"} & set(text), name


def test_extractor_and_versions_are_named():
    text = protocol("fd_squeezenet", detail="weights 1f2e")
    assert "squeezenet" in text
    assert "not FID" in text
    assert importlib.metadata.version("torch-fidelity") in text
    assert text.endswith("; weights 1f2e")
    assert "attributes features" in protocol("kd_attributes")


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="'fids'"):
        protocol("fids")
