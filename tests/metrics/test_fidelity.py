"""Inception metrics and precision/recall: weights are found or refused, never downloaded."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from idinvert.data.content import file_hash
from idinvert.errors import CheckpointError, DataError, MissingWeightsError
from idinvert.metrics import fidelity


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    """No weights on this machine, and no way to fetch any."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*_, **__):
        raise AssertionError("tried to download")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)


def images(n: int, *, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 32, 32), generator=rng, dtype=torch.uint8)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """A file of the real layout with random weights, scaled so that activations stay alive."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        skeleton = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
        path = tmp_path_factory.mktemp("weights") / "inception.pth"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
            patch.setattr("torch.load", lambda *_, **__: None)
            skeleton.__init__("inception", ["2048"], feature_extractor_weights_path="none")
        state = skeleton.state_dict()
        for weight in state.values():
            if weight.ndim == 4:
                nn.init.kaiming_normal_(weight)
    torch.save(state, path)
    return path


def test_missing_weights_name_file_url_sha256_and_key():
    with pytest.raises(MissingWeightsError) as caught:
        fidelity.InceptionDistance(["fid"], path=None).between(images(4, seed=0), images(4, seed=1))
    for part in ("weights-inception-2015-12-05-6726825d.pth", "https://", "sha256", "6726825d"):
        assert part in str(caught.value)
    assert "metric.inception_path" in str(caught.value)
    with pytest.raises(MissingWeightsError, match=r"metric\.prc_vgg16_path"):
        fidelity.PrecisionRecall().between(images(4, seed=0), images(4, seed=1))


def test_another_file_is_not_called_fid(inception_file):
    with pytest.raises(CheckpointError, match=r"not the Inception of FID.*metric\.inception_path"):
        fidelity.inception_weights(inception_file)


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    path = tmp_path / "vgg16.pth"
    path.write_bytes(pickle.dumps({"weight": Harm()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"__builtin__\.print.*prc_vgg16_path"):
        fidelity.prc_weights(path)


def test_a_damaged_copy_of_weights_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    torch.save({"weight": torch.ones(3)}, tmp_path / "vgg16.pth")
    whole = fidelity.prc_weights(tmp_path / "vgg16.pth").read_bytes()
    for damage in (whole[:-1], whole[:-1] + b"x"):
        fidelity.prc_weights(tmp_path / "vgg16.pth").write_bytes(damage)
        made = torch.load(fidelity.prc_weights(tmp_path / "vgg16.pth"), weights_only=True)
        assert torch.equal(made["weight"], torch.ones(3))


def test_kid_through_inception_is_the_mmd_of_its_features(inception_file, monkeypatch):
    monkeypatch.setattr(fidelity, "INCEPTION_SHA256", file_hash(inception_file))
    a, b = images(3, seed=2), images(3, seed=3) // 3
    got = fidelity.InceptionDistance(["kid"], path=inception_file).between(a, b)
    network = FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(inception_file)
    )
    with torch.no_grad():
        x, y = network(a)[0].double().numpy(), network(b)[0].double().numpy()

    def kernel(u, v):
        return (u @ v.T / 2048 + 1) ** 3

    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / 6
    assert got["kid"] > 0.01  # the sets are far apart: nothing here is near zero by accident
    assert list(got) == ["kid"], "subsets as large as the sets have no spread"
    assert got["kid"] == pytest.approx(within - 2 * xy.sum() / 9, rel=1e-3)


@pytest.mark.slow
def test_fid_and_inception_score_are_their_formulas(inception_file, monkeypatch):
    monkeypatch.setattr(fidelity, "INCEPTION_SHA256", file_hash(inception_file))
    a, b = images(10, seed=5), images(10, seed=6) // 2
    got = fidelity.InceptionDistance(["fid", "isc"], path=inception_file).between(a, b)
    network = FeatureExtractorInceptionV3(
        "inception",
        ["2048", "logits_unbiased"],
        feature_extractor_weights_path=str(inception_file),
    )
    with torch.no_grad():
        (x, logits), (y, _) = network(a), network(b)
    x, y = x.double().numpy(), y.double().numpy()
    centred = (x - x.mean(axis=0)) / 3, (y - y.mean(axis=0)) / 3  # 3 = sqrt(10 - 1)
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    gap = x.mean(axis=0) - y.mean(axis=0)
    fid = gap @ gap + (centred[0] ** 2).sum() + (centred[1] ** 2).sum() - 2 * root
    assert got["fid"] == pytest.approx(fid, rel=1e-3)
    assert got["isc"] == pytest.approx(1)  # ten splits of one image each: no divergence from itself
    assert logits.shape == (10, 1008)


def test_counts_are_checked_before_weights():
    with pytest.raises(DataError, match="3 outputs and 4 real"):
        fidelity.InceptionDistance(["fid"], path=None).between(images(3, seed=0), images(4, seed=1))


@pytest.mark.slow
def test_precision_and_recall_of_a_set_with_itself_are_one(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.vgg16().state_dict()
    torch.save(state, tmp_path / "vgg16.pth")
    a = images(6, seed=4)
    got = fidelity.PrecisionRecall(path=tmp_path / "vgg16.pth").between(a, a)
    assert got["prc_precision"] == 1
    assert got["prc_recall"] == 1
    assert got["prc_f_score"] == pytest.approx(1)
