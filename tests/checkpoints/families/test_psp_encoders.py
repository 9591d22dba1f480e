"""pSp's and e4e's encoders: every tensor's place, and the codes, in float64."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.families.encoder4editing import (
    E4E,
    INTO_W,
    PSP,
    encoder_type,
    read_encoder,
)
from idinvert.checkpoints.release import load_network, save_network
from idinvert.checkpoints.strict_loading import without_memory
from idinvert.checkpoints.style_encoders import e4e, psp, start
from idinvert.errors import CheckpointError, ConfigError
from idinvert.networks.psp_encoder import E4eEncoder, PspEncoder

from .checks import KEY, about_same, check_every_key_is_named, check_settled, same
from .psp_encoders_files import UNITS, encoder_state, options, recogniser_state
from .reference import double, normal

KINDS = [E4E, PSP, INTO_W]


def open_encoder(kind: str, state: dict[str, Tensor], **choices: Any) -> Any:
    opts = choices.pop("opts", {})
    choices.setdefault("latent_avg", normal(8, 6, seed=9))
    return read_encoder(state, opts=options(kind, **opts), key="my.path", **choices)


def encode(kind: str, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The codes of an encoder's tensors, as the authors' modules compute them, without w̄."""
    p = double(state)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        x = (x - mean.view(1, -1, 1, 1)) / torch.sqrt(var.view(1, -1, 1, 1) + 1e-5)
        return x * p[f"{name}.weight"].view(1, -1, 1, 1) + p[f"{name}.bias"].view(1, -1, 1, 1)

    def prelu(x: Tensor, name: str) -> Tensor:
        return torch.where(x > 0, x, x * p[f"{name}.weight"].view(1, -1, 1, 1))

    def bottleneck(x: Tensor, name: str, stride: int) -> Tensor:
        shortcut = F.max_pool2d(x, 1, stride)
        if f"{name}.shortcut_layer.0.weight" in p:
            shortcut = F.conv2d(x, p[f"{name}.shortcut_layer.0.weight"], stride=stride)
            shortcut = norm(shortcut, f"{name}.shortcut_layer.1")
        x = F.conv2d(norm(x, f"{name}.res_layer.0"), p[f"{name}.res_layer.1.weight"], padding=1)
        x = prelu(x, f"{name}.res_layer.2")
        x = F.conv2d(x, p[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
        x = norm(x, f"{name}.res_layer.4")
        pooled = F.adaptive_avg_pool2d(x, 1)
        hidden = F.relu(F.conv2d(pooled, p[f"{name}.res_layer.5.fc1.weight"]))
        weight = 1 / (1 + torch.exp(-F.conv2d(hidden, p[f"{name}.res_layer.5.fc2.weight"])))
        return shortcut + x * weight

    def linear(x: Tensor, name: str) -> Tensor:
        weight = p[f"{name}.weight"]
        return x @ (weight / math.sqrt(weight.shape[1])).T + p[f"{name}.bias"]

    def style(x: Tensor, i: int) -> Tensor:
        j = 0
        while f"styles.{i}.convs.{j}.weight" in p:
            x = F.conv2d(
                x, p[f"styles.{i}.convs.{j}.weight"], p[f"styles.{i}.convs.{j}.bias"], 2, 1
            )
            x, j = torch.where(x > 0, x, 0.01 * x), j + 2
        return linear(x.view(len(x), -1), f"styles.{i}.linear")

    def add(x: Tensor, y: Tensor) -> Tensor:
        return F.interpolate(x, size=y.shape[2:], mode="bilinear", align_corners=True) + y

    x = F.conv2d(x, p["input_layer.0.weight"], padding=1)
    x = prelu(norm(x, "input_layer.1"), "input_layer.2")
    starts = [0, 3, 7, 21]
    seen = {}
    for i in range(sum(UNITS)):
        x = bottleneck(x, f"body.{i}", 2 if i in starts else 1)
        seen[i] = x
    c1, c2, c3 = seen[6], seen[20], seen[23]
    if kind == INTO_W:
        w = linear(F.adaptive_avg_pool2d(c3, 1).view(len(x), -1), "linear")
        return w[:, None].repeat(1, 8, 1)
    p2 = add(c3, F.conv2d(c2, p["latlayer1.weight"], p["latlayer1.bias"]))
    p1 = add(p2, F.conv2d(c1, p["latlayer2.weight"], p["latlayer2.bias"]))
    count = sum(name.startswith("styles.") and name.endswith("linear.bias") for name in p)
    features = [c3] * 3 + [p2] * 4 + [p1] * (count - 7)
    codes = [style(features[i], i) for i in range(count)]
    if kind == E4E:
        codes = [codes[0]] + [codes[0] + delta for delta in codes[1:]]
    return torch.stack(codes, dim=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"input_size": 64, "reduction": 1}])
def test_codes(kind, settings):
    state = encoder_state(kind, **settings)
    latent_avg = normal(8, 6, seed=9)
    encoder = open_encoder(kind, state, latent_avg=latent_avg)
    side = encoder.input_size
    check_settled(encoder)
    x = normal(2, 3, side, side, seed=0).double()
    expected = encode(kind, state, x) + latent_avg.double()
    with torch.no_grad():
        codes = encoder.encode(x.float()).codes.double()
        about_same(codes, expected)
        same(encoder.double()(x), expected)
    assert encode(kind, state, x).std() > 0.1


@pytest.mark.parametrize("kind", [E4E, PSP])
@pytest.mark.parametrize("num_layers", [4, 6, 8, 18])
def test_any_number_of_styles(kind, num_layers):
    state = encoder_state(kind, num_layers=num_layers)
    encoder = open_encoder(kind, state, latent_avg=torch.zeros(6)).double()
    x = normal(1, 3, 32, 32, seed=0).double()
    expected = encode(kind, state, x) if num_layers > 6 else None
    codes = encoder(x)
    assert codes.shape == (1, num_layers, 6)
    if expected is not None:
        torch.testing.assert_close(codes, expected, rtol=0, atol=1e-6)


def test_images_of_other_sizes_are_resized_as_pillow_does(tmp_path):
    encoder = open_encoder(E4E, encoder_state())
    large = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    small = F.interpolate(large, size=(32, 32), mode="bilinear", antialias=True)
    assert torch.equal(encoder(large), encoder(small))
    with pytest.raises(ConfigError, match=r"square"):
        encoder(large[:, :, :64])


def test_cars_are_cropped(tmp_path):
    state = encoder_state(input_size=64)
    encoder = open_encoder(
        E4E, state, opts={"dataset_type": "cars_encode"}, latent_avg=torch.ones(6)
    )
    assert encoder.architecture["input_height"] == 48
    x = normal(1, 3, 64, 64, seed=0).double()
    expected = encode(E4E, state, x[:, :, 8:56]) + 1  # an eighth above, an eighth below
    torch.testing.assert_close(encoder.double()(x), expected, rtol=0, atol=1e-6)


def test_stages_hold_back_the_later_steps():
    encoder = open_encoder(E4E, encoder_state(), latent_avg=torch.zeros(6)).double()
    x = normal(2, 3, 32, 32, seed=0).double()
    full = encoder(x)
    encoder.set_stage(0)
    torch.testing.assert_close(encoder(x), full[:, :1].expand(-1, 8, -1))
    encoder.set_stage(4)
    codes = encoder(x)
    torch.testing.assert_close(codes[:, :5], full[:, :5])
    torch.testing.assert_close(codes[:, 5:], full[:, :1].expand(-1, 3, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_code(kind):
    state = encoder_state(kind)
    x = torch.zeros(1, 3, 32, 32)
    plain = open_encoder(kind, state, opts={"start_from_latent_avg": False})
    shifted = open_encoder(kind, state, latent_avg=torch.arange(6.0))
    torch.testing.assert_close(shifted(x), plain(x) + torch.arange(6.0))
    with pytest.raises(CheckpointError, match=r"latent_avg is None"):
        open_encoder(kind, state, latent_avg=None)
    with pytest.raises(CheckpointError, match=r"latent_avg is \(3, 6\)"):
        open_encoder(kind, state, latent_avg=torch.zeros(3, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_through_the_release_format(tmp_path, kind):
    module = open_encoder(kind, encoder_state(kind))
    save_network(module, tmp_path / "n.safetensors", provenance={})
    again = load_network(tmp_path / "n.safetensors", key="k", expect="encoder")
    assert type(again) is type(module) and again.architecture == module.architecture
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize("kind", [E4E, INTO_W])
def test_every_key_is_named(kind):
    whole = encoder_state(kind)
    some = ("input_layer.1", "body.7.res_layer.5", "body.7.shortcut_layer.0", "body.23.res_layer.2")
    some += ("styles.3.linear", "styles.7.convs.4", "latlayer1", "linear")
    rest = (name for name in whole if not name.startswith(some) or name.endswith("tracked"))

    def read(tensors):
        mean = torch.zeros(8, 6)
        opts = options(kind)
        return read_encoder(tensors, opts=opts, key=KEY, what="some.file", latent_avg=mean)

    check_every_key_is_named(whole, read, unused=tuple(rest))


def test_which_encoders_are_known():
    state = encoder_state()
    for kind in KINDS:
        assert encoder_type(encoder_state(kind), opts=options(kind)) == kind
    assert encoder_type(state, opts={}) is None
    assert encoder_type(state, opts=options("ProgressiveBackboneEncoder")) is None
    restyle = state | {"input_layer.0.weight": torch.zeros(4, 6, 3, 3)}
    assert encoder_type(restyle, opts=options()) is None
    assert encoder_type({}, opts=options()) is None
    with pytest.raises(CheckpointError, match=r"\(4, 6, 3, 3\), expected one of.*RGB|images"):
        open_encoder(E4E, restyle)


def test_the_published_width():
    """The sizes of the published files: 24 units, 512 maps, 18 heads, 256 px."""
    with without_memory():
        encoder = E4eEncoder(num_layers=18)
        into_w = PspEncoder(num_layers=18, latent="w")
    count, before = 3 * 64 * 9 + 3 * 64, 64  # convolution, BN, PReLU
    for width, units in zip((64, 128, 256, 512), UNITS, strict=True):
        for _ in range(units):
            count += 9 * before * width + 9 * width * width + width + 2 * before + 2 * width
            count += 2 * width * (width // 16)
            count += before * width + 2 * width if before != width else 0
            before = width
    assert sum(p.numel() for p in encoder.body.parameters()) == count
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["body.stages.2.13.conv1.weight"] == (256, 256, 3, 3)
    assert shapes["body.stages.3.2.attention.squeeze.weight"] == (32, 512, 1, 1)
    assert shapes["pyramid.middle.weight"] == (512, 256, 1, 1)
    assert shapes["pyramid.fine.weight"] == (512, 128, 1, 1)
    convs = [sum(f"heads.{i}.convs." in n and "weight" in n for n in shapes) for i in range(18)]
    assert convs == [4] * 3 + [5] * 4 + [6] * 11
    assert "body.stages.0.0.shortcut.0.weight" not in shapes
    assert tuple(into_w.linear.weight.shape) == (512, 512)


def test_starting_from_a_file(tmp_path):
    choices: dict[str, Any] = {"num_layers": 8, "w_dim": 6, "channels": 4, "reduction": 2}
    choices |= {"input_size": 32, "key": "encoder.path"}
    state = encoder_state()
    content = {
        "state_dict": {f"encoder.{name}": value for name, value in state.items()},
        "opts": options(),
        "latent_avg": torch.ones(8, 6),
    }
    torch.save(content, tmp_path / "e4e.pt")
    encoder = e4e(path=tmp_path / "e4e.pt", **choices)
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    assert (encoder.w_offset == 0).all()  # the run's own generator gives it
    encoder.eval()
    x = normal(1, 3, 32, 32, seed=0).double()
    expected = encode(E4E, state, x)
    torch.testing.assert_close(encoder.double()(x), expected, rtol=0, atol=1e-6)

    save_network(encoder.float(), tmp_path / "e.safetensors", provenance={})
    again = e4e(path=tmp_path / "e.safetensors", **choices).eval()
    torch.testing.assert_close(again.double()(x), expected, rtol=0, atol=1e-5)

    recogniser = recogniser_state()
    torch.save(recogniser, tmp_path / "model_ir_se50.pth")
    fresh = psp(path=tmp_path / "model_ir_se50.pth", **choices)
    weight = recogniser["body.9.res_layer.1.weight"]
    assert torch.equal(fresh.body.stages[2][2].conv0.weight, weight)  # type: ignore[index]

    with pytest.raises(CheckpointError, match=r"holds a E4eEncoder, expected a PspEncoder"):
        psp(path=tmp_path / "e4e.pt", **choices)
    with pytest.raises(CheckpointError, match=r"where this one has .*tensors do not fit"):
        e4e(path=tmp_path / "e4e.pt", **(choices | {"num_layers": 6}))
    with pytest.raises(CheckpointError, match=r"encoder\.path"):
        torch.save({"state_dict": {}, "opts": {}}, tmp_path / "none.pt")
        start(fresh, tmp_path / "none.pt", key="encoder.path")


def test_wrong_choices_are_refused():
    with pytest.raises(ConfigError, match=r"latent=w_plus"):
        E4eEncoder(num_layers=8, latent="w")
    with pytest.raises(ConfigError, match=r"input_size"):
        PspEncoder(num_layers=8, input_size=48)
    with pytest.raises(ConfigError, match=r"input_height"):
        PspEncoder(num_layers=8, input_size=64, input_height=16)
    with pytest.raises(ConfigError, match=r"units"):
        PspEncoder(num_layers=8, units=[3, 4])
    with pytest.raises(ConfigError, match=r"offset"):
        PspEncoder(num_layers=8, w_dim=4, channels=1, offset=False).set_offset(torch.zeros(4))
