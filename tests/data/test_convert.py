"""uint8 to [-1, 1] and back."""

import pytest
import torch

from idinvert.data.convert import to_float, to_uint8


def test_every_value_survives_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    floats = to_float(values)
    expected = values.double() / 127.5 - 1.0
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats.double(), expected, atol=1e-7, rtol=0)
    assert floats[0] == -1.0 and floats[255] == 1.0
    assert torch.equal(to_uint8(floats), values)


def test_rounds_to_nearest_and_clamps():
    x = torch.tensor([-3.0, -1.0, -0.999, 0.0, 0.9999, 1.0, 7.0], dtype=torch.float64)
    assert to_uint8(x).tolist() == [0, 0, 0, 128, 255, 255, 255]
    halfway = (100.4 - 127.5) / 127.5
    assert to_uint8(torch.tensor([halfway])).item() == 100
    assert to_uint8(torch.tensor([(100.6 - 127.5) / 127.5])).item() == 101


def test_refuses_the_wrong_kind_of_number():
    with pytest.raises(TypeError, match="uint8"):
        to_float(torch.zeros(3))
    with pytest.raises(TypeError, match="floating"):
        to_uint8(torch.zeros(3, dtype=torch.int64))
