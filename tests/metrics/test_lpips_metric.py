"""LPIPS from a local backbone against its definition written out."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from idinvert.errors import CheckpointError, ConfigError, MissingWeightsError
from idinvert.metrics.lpips_metric import LPIPS

pytestmark = pytest.mark.filterwarnings("ignore:.*as published.*")
TAPS = (1, 4, 7, 9, 10, 11, 12)  # outputs of SqueezeNet's features that LPIPS compares


@pytest.fixture(scope="module")
def squeezenet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.squeezenet1_1().features.eval()


@pytest.fixture(scope="module")
def backbone(squeezenet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "squeeze.pth"
    torch.save({f"features.{name}": t for name, t in squeezenet.state_dict().items()}, path)
    return path


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 48, 48, generator=rng) * 2 - 1
    return x, (x + 0.3 * torch.randn(2, 3, 48, 48, generator=rng)).clamp(-1, 1)


@torch.no_grad()
def reference(network, heads, x, y) -> list[float]:
    """Weighted squared difference of unit-length features, mean over space, sum over taps."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    a, b, total = (x - shift) / scale, (y - shift) / scale, torch.zeros(len(x))
    for index, layer in enumerate(network):
        a, b = layer(a), layer(b)
        if index in TAPS:
            unit = [f / (f.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for f in (a, b)]
            weight = heads[TAPS.index(index)].view(1, -1, 1, 1)
            total += ((unit[0] - unit[1]) ** 2 * weight).sum(dim=1).mean(dim=(1, 2))
    return total.tolist()


def test_lpips_is_its_definition_on_the_given_backbone(squeezenet, backbone):
    metric = LPIPS(net="squeeze", path=backbone)
    heads = [lin.model[1].weight for lin in metric.model.lins]
    x, y = pair(1)
    assert metric(x, y).tolist() == pytest.approx(reference(squeezenet, heads, x, y), rel=1e-4)
    assert metric(x, x).tolist() == [0, 0]
    assert metric(x.double() * 9, x.clamp(-1, 1)).shape == (2,)  # clamped


def test_layouts_and_the_global_generator(squeezenet, backbone, tmp_path):
    state = torch.get_rng_state()
    expected = LPIPS(net="squeeze", path=backbone)(*pair(2))
    assert torch.equal(state, torch.get_rng_state())
    save_file(dict(squeezenet.state_dict()), tmp_path / "bare.safetensors")
    assert torch.equal(LPIPS(net="squeeze", path=tmp_path / "bare.safetensors")(*pair(2)), expected)


def test_other_weights_than_the_published_are_named(backbone):
    with pytest.warns(UserWarning, match="squeezenet1_1-b8a52dc0.pth as published"):
        LPIPS(net="squeeze", path=backbone)


def test_faults_of_the_file_are_named(backbone, tmp_path):
    with pytest.raises(MissingWeightsError, match=r"(?s)squeezenet1_1.*https.*metric\.lpips_path"):
        LPIPS(net="squeeze")
    state = torch.load(backbone)
    state["features.0.weight"] = torch.zeros(1)
    del state["features.3.squeeze.bias"]
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(
        CheckpointError,
        match=r"missing: features\.3\.squeeze\.bias; misshapen: features\.0\.weight \(1,\)",
    ):
        LPIPS(net="squeeze", path=tmp_path / "wrong.pth")
    (tmp_path / "torn.pth").write_bytes(backbone.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"torn\.pth.*metric\.lpips_path"):
        LPIPS(net="squeeze", path=tmp_path / "torn.pth")
    with pytest.raises(ConfigError, match="alex, vgg, squeeze"):
        LPIPS(net="resnet")
