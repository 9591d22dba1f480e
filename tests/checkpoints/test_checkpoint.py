"""The door: what it opens, what it gives, and that whatever else ends in one clear error."""

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import idinvert.checkpoints
from idinvert.checkpoints import families, mean_code
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.families import FAMILIES
from idinvert.checkpoints.release import save_network
from idinvert.data.content import weights_cache_dir
from idinvert.editing.directions import Direction, save_directions
from idinvert.errors import CheckpointError
from idinvert.networks.attributes import AttributeNetwork
from idinvert.networks.latent_discriminator import LatentDiscriminator
from tests.checkpoints import tiny

pytestmark = pytest.mark.usefixtures("empty_cache")

KEY = "generator.path"


def settled(network: torch.nn.Module) -> bool:
    return not network.training and not any(p.requires_grad for p in network.parameters())


def test_the_room_offers_the_door():
    assert idinvert.checkpoints.open_checkpoint is open_checkpoint
    with pytest.raises(AttributeError, match="no attribute 'open_chequepoint'"):
        idinvert.checkpoints.open_chequepoint  # noqa: B018


@pytest.mark.parametrize("where", ["bundle", "run"])
def test_a_folder_of_our_own(tmp_path, where):
    tiny.bundle(tmp_path / "weights" if where == "run" else tmp_path)
    found = open_checkpoint(tmp_path)
    assert found.family == "idinvert" and list(found.networks) == [
        "generator",
        "discriminator",
        "encoder",
    ]
    assert tiny.same(found.generator, tiny.generator())
    assert tiny.same(found.networks["encoder"], tiny.encoder())
    assert all(settled(network) for network in found.networks.values())
    assert found.latent_avg is not None and torch.equal(found.latent_avg, tiny.generator().w_avg)
    assert found.meta["provenance"]["generator"] == {"seed": 7}


def test_an_attribute_network_of_our_own(tmp_path):
    network = AttributeNetwork(resolution=8, kinds=["binary"], names=["smile"], width=8)
    save_network(network, tmp_path / "attributes.safetensors", provenance={})
    for place in (tmp_path, tmp_path / "attributes.safetensors"):
        found = open_checkpoint(place)
        assert list(found.networks) == ["attributes"] and found.latent_avg is None
        assert tiny.same(found.networks["attributes"], network)


def test_the_shipped_bundle():
    found = open_checkpoint("shipped:faces_mini")
    assert found.generator.resolution == 32 and found.encoder is not None
    assert found.networks["attributes"].resolution == 32
    with pytest.raises(CheckpointError, match="shipped:nothing"):
        open_checkpoint("shipped:nothing", key=KEY)


@pytest.mark.parametrize("role", ["generator", "discriminator", "encoder"])
def test_one_file_of_our_own(tmp_path, role):
    file = tiny.bundle(tmp_path, role) / f"{role}.safetensors"
    odd = file.rename(tmp_path / "renamed.pkl")
    found = open_checkpoint(odd)
    assert list(found.networks) == [role]
    assert (found.latent_avg is None) == (role != "generator")


def test_a_foreign_file_under_a_wrong_name(tmp_path):
    found = open_checkpoint(tiny.rosinality(tmp_path / "x.safetensors"))
    assert found.family == "rosinality" and found.meta["latent_avg"] == "stored"
    assert tiny.same(found.generator, tiny.generator())
    assert tiny.same(found.networks["discriminator"], tiny.discriminator())
    assert all(settled(network) for network in found.networks.values())


# --- the mean code ---------------------------------------------------------------------------


def literal_mean_code(generator: torch.nn.Module) -> np.ndarray:
    """M of StyleGAN2 in float64, written out, over the same 100,000 z."""
    state = {name: value.double() for name, value in generator.state_dict().items()}
    rng = torch.Generator().manual_seed(0)
    total = np.zeros(tiny.W)
    for _ in range(100):
        z = torch.randn(1_000, tiny.W, generator=rng).double()
        x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        for i in range(2):
            weight = state[f"mapping.layers.{i}.weight"] * 0.01 / math.sqrt(tiny.W)
            x = x @ weight.T + 0.01 * state[f"mapping.layers.{i}.bias"]
            x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
        total += x.sum(dim=0).numpy()
    return total / 100_000


def test_a_missing_mean_code_is_computed_once(tmp_path, monkeypatch):
    file = tiny.rosinality(tmp_path / "x.pt", with_mean=False)
    found = open_checkpoint(file)
    expected = literal_mean_code(tiny.generator())
    assert found.latent_avg is not None and found.latent_avg.shape == (tiny.L, tiny.W)
    np.testing.assert_allclose(found.latent_avg.numpy(), np.tile(expected, (4, 1)), atol=1e-6)
    assert torch.equal(found.generator.w_avg, found.latent_avg)
    assert found.meta["latent_avg"] == "computed from 100,000 samples, seed 0"

    monkeypatch.setattr(mean_code, "compute_mean_code", lambda generator: pytest.fail("again"))
    again = open_checkpoint(file)
    assert torch.equal(again.latent_avg, found.latent_avg)


def test_a_damaged_mean_code_in_the_cache_is_computed_anew(tmp_path, monkeypatch):
    made = torch.full((tiny.L, tiny.W), 0.5)
    monkeypatch.setattr(mean_code, "compute_mean_code", lambda generator: made)
    file = tiny.rosinality(tmp_path / "x.pt", with_mean=False)
    open_checkpoint(file)
    (kept,) = (weights_cache_dir() / "mean_codes").iterdir()
    whole = kept.read_bytes()
    for content in (b"", b"no tensors", whole[:-4], whole[:-1] + bytes([whole[-1] ^ 1])):
        kept.write_bytes(content)
        assert torch.equal(open_checkpoint(file).latent_avg, made)
    save_file({"w_avg": torch.zeros(1, 1)}, kept)
    assert torch.equal(open_checkpoint(file).latent_avg, made)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "cache").write_bytes(b"a file, where a folder should be")
    monkeypatch.setattr(
        mean_code, "compute_mean_code", lambda generator: torch.ones(tiny.L, tiny.W)
    )
    found = open_checkpoint(tiny.rosinality(tmp_path / "x.pt", with_mean=False))
    assert torch.equal(found.latent_avg, torch.ones(tiny.L, tiny.W))


def test_another_generator_has_another_mean_code(tmp_path):
    generators = [tiny.generator(0), tiny.generator(5)]
    assert mean_code._mapping_hash(generators[0]) != mean_code._mapping_hash(generators[1])
    assert mean_code._mapping_hash(generators[0]) == mean_code._mapping_hash(tiny.generator(0))


def test_labels_are_drawn_evenly():
    """A conditional M sees one label for each z, and all labels about equally often."""
    seen = torch.zeros(3)

    def mapping(z, c):
        assert c.shape == (len(z), 3) and torch.equal(c.sum(dim=1), torch.ones(len(z)))
        seen.add_(c.sum(dim=0))
        return c[:, None].expand(-1, 2, -1)

    fake = SimpleNamespace(num_layers=2, w_dim=3, z_dim=4, c_dim=3, mapping=mapping)
    found = mean_code.compute_mean_code(fake, samples=3_500)
    assert seen.sum() == 3_500 and (seen - 3_500 / 3).abs().max() < 120
    torch.testing.assert_close(found, (seen / 3_500).expand(2, 3))


# --- checkpoints of our own runs ---------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_lightning_gives_the_averaged_generator(tmp_path, named):
    file = tiny.lightning(tmp_path / "run", named=named)
    found = open_checkpoint(file.rename(file.with_name("model.bin")))
    assert found.family == "lightning" and found.meta["nimg"] == 640
    assert tiny.same(found.generator, tiny.generator(4))
    assert tiny.same(found.networks["discriminator"], tiny.discriminator())
    live = open_checkpoint(file.with_name("model.bin"), network="g")
    assert tiny.same(live.generator, tiny.generator(3))


def test_lightning_away_from_its_run_says_so(tmp_path):
    file = tiny.lightning(tmp_path / "run")
    moved = file.rename(tmp_path / "moved.ckpt")
    with pytest.raises(CheckpointError, match=r"does not say how its generator is built.*path"):
        open_checkpoint(moved)


def test_lightning_names_every_tensor_that_does_not_fit(tmp_path):
    file = tiny.lightning(tmp_path / "run")
    content = torch.load(file, weights_only=True)
    state = content["state_dict"]
    del state["average.synthesis.const"]
    state["average.extra"] = torch.zeros(1)
    state["average.w_avg"] = torch.zeros(2)
    torch.save(content, file)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(file, key=KEY)
    for word in ("missing: synthesis.const", "extra: extra", "w_avg (2,) instead of (4, 8)", KEY):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "Encoder"}, "names the class 'Encoder'"),
        ({"class": "os.system"}, "names the class"),
        ({"architecture": {"resolution": 7}}, "no native network has this architecture"),
        ({"architecture": {"resolution": 2**40}}, "no native network|do not fit"),
        ({"architecture": {"nonsense": 1}}, "no native network has this architecture"),
    ],
)
def test_lightning_with_an_impossible_architecture(tmp_path, change, message):
    file = tiny.lightning(tmp_path / "run", named=True)
    content = torch.load(file, weights_only=True)
    content["idinvert_networks"]["generator"] |= change
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(file)


def test_lightning_of_somebody_else(tmp_path):
    content = {"pytorch-lightning_version": "2", "state_dict": {"net.weight": torch.zeros(1)}}
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="without a network of this project"):
        open_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="expected g_ema or g"):
        open_checkpoint(tmp_path / "x.ckpt", network="best")


# --- what is refused ---------------------------------------------------------------------------


def latent_discriminator(path: Path) -> None:
    save_network(LatentDiscriminator(features=8, width=8), path, provenance={})


REFUSED = {
    "nothing there": (lambda path: None, "no such file"),
    "an empty folder": (lambda path: path.mkdir(), "generator.safetensors"),
    "an empty file": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("hello\n"), "expected safetensors"),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html>"), "web page"),
    "an array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "like edit directions"),
    "boundaries": (
        lambda path: np.save(path.open("wb"), {"boundary": np.zeros(3)}),
        "like edit directions",
    ),
    "a perceptual network": (
        lambda path: torch.save({"features.0.weight": torch.zeros(1)}, path),
        r"perceptual\.network\.path",
    ),
    "another network": (
        lambda path: torch.save({"conv.weight": torch.zeros(1)}, path),
        "'conv.weight'",
    ),
    "a list": (lambda path: torch.save([torch.zeros(2, 3), "x"], path), r"a list of 2 .*\(2, 3\)"),
    "a lone tensor": (lambda path: torch.save(torch.zeros(2, 3), path), r"Tensor \(2, 3\)"),
    "an empty dict": (lambda path: torch.save({}, path), "an empty dict"),
    "other safetensors": (lambda path: save_file({"a": torch.zeros(1)}, path), "safetensors file"),
    "directions": (
        lambda path: save_directions(path, [Direction("a", torch.eye(1, 8))]),
        "idinvert-directions-1",
    ),
    "another network of ours": (latent_discriminator, r"none of .* \(it holds latent_disc"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    write, message = REFUSED[case]
    write(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(tmp_path / "x.pt", key=KEY)
    assert KEY in str(caught.value) and "x.pt" in str(caught.value)


def test_a_truncated_file_of_our_own(tmp_path):
    file = tiny.bundle(tmp_path, "generator") / "generator.safetensors"
    whole = file.read_bytes()
    for length in (8, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"generator\.safetensors"):
            open_checkpoint(file)


def test_a_network_of_a_file_that_has_one(tmp_path):
    with pytest.raises(CheckpointError, match="one network each"):
        open_checkpoint(tiny.bundle(tmp_path), network="g")
    with pytest.raises(CheckpointError, match="'best'"):
        open_checkpoint(tiny.rosinality(tmp_path / "x.pt"), network="best")


def test_numbers_that_are_not_finite(tmp_path):
    file = tiny.rosinality(tmp_path / "x.pt")
    content = torch.load(file, weights_only=True)
    content["g_ema"]["style.1.bias"][0] = math.nan
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"not finite in float32.*style\.1\.bias"):
        open_checkpoint(file)


def test_whatever_a_reader_stumbles_over(tmp_path, monkeypatch):
    def stumble(archive, **keywords):
        raise IndexError("tuple index out of range")

    family = SimpleNamespace(name="odd", recognise=lambda archive: True, read=stumble, settings=())
    monkeypatch.setattr(families, "FAMILIES", (family,))
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"IndexError.*generator\.path"):
        open_checkpoint(tmp_path / "x.pt", key=KEY)


def test_families_have_names_of_their_own():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) and "idinvert" not in names


def test_opening_leaves_the_global_generator_alone(tmp_path):
    file = tiny.rosinality(tmp_path / "x.pt")
    torch.manual_seed(11)
    before = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    open_checkpoint(file)
    assert hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest() == before
