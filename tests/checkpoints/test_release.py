"""The release format: round trips, every broken file by its own message, atomic writes."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from idinvert.checkpoints import release, tensor_file
from idinvert.checkpoints.release import fingerprint, load_network, read_header, save_network
from idinvert.errors import CheckpointError, OutputError
from idinvert.networks.attributes import AttributeNetwork
from idinvert.networks.encoder import Encoder
from idinvert.networks.encoder_base import BaseBackbone

KEY = "encoder.path"


def attributes() -> AttributeNetwork:
    torch.manual_seed(3)
    return AttributeNetwork(resolution=8, kinds=["binary"], names=["smile"], width=8)


def encoder(variant: str) -> Encoder:
    torch.manual_seed(3)
    backbone = BaseBackbone(resolution=8, variant=variant, channels=4, channels_max=8)
    return Encoder(backbone=backbone, num_layers=4, w_dim=6, offset=True)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "attributes.safetensors"
    save_network(attributes(), path, provenance={"seed": 3})
    return path


def rewrite(path: Path, *, tensors=None, **metadata) -> None:
    """The same file with other tensors or other metadata (None drops an entry)."""
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    merged = {k: v for k, v in (old | metadata).items() if v is not None}
    save_file(load_file(path) if tensors is None else tensors, path, metadata=merged)


@pytest.mark.parametrize(
    ("make", "role"),
    [
        (attributes, "attributes"),
        (lambda: encoder("v1"), "encoder"),
        (lambda: encoder("v2"), "encoder"),
    ],
)
def test_round_trip_is_bit_for_bit(make, role, tmp_path):
    network = make()
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 8, 8, generator=rng) * 2 - 1
    network.train()(x)  # running statistics move away from their start
    if role == "encoder":
        network.set_offset(torch.randn(4, 6, generator=rng))
    path = tmp_path / "deep" / "folder" / "network.safetensors"
    provenance = {"command": "python train.py seed=3", "seed": 3, "nimg": 12_000, "commit": None}
    save_network(network, path, provenance=provenance)

    header = read_header(path, key=KEY)
    assert (header.class_name, header.role) == (type(network).__name__, role)
    assert header.architecture == network.architecture and header.provenance == provenance
    loaded = load_network(path, key=KEY, expect=role)
    assert type(loaded) is type(network) and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert loaded.architecture == network.architecture
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)


SIZES = {"resolution": 8, "channels": [8, 8]}
LATENTS = {"z_dim": 4, "w_dim": 4, "mapping_depth": 2}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("StyleGANGenerator", SIZES | LATENTS),
        ("StyleGAN2Generator", SIZES | LATENTS),
        ("StyleGANDiscriminator", SIZES),
        ("StyleGAN2Discriminator", SIZES),
    ],
)
def test_the_gan_networks_round_trip(name, arguments, tmp_path):
    role, module = release.CLASSES[name]
    network = getattr(pytest.importorskip(module), name)(**arguments)
    save_network(network, tmp_path / name, provenance={})
    loaded = load_network(tmp_path / name, key=KEY, expect=role)
    assert loaded.architecture == network.architecture
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_loading_leaves_the_global_generator_alone(saved):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load_network(saved, key=KEY)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_fingerprint_follows_the_content(saved, tmp_path):
    assert fingerprint(saved) == hashlib.sha256(saved.read_bytes()).hexdigest()[:16]
    for attempt in range(4):  # the order of the header is not left to chance
        save_network(attributes(), tmp_path / f"again{attempt}", provenance={"seed": 3})
        assert fingerprint(tmp_path / f"again{attempt}") == fingerprint(saved)
    save_network(attributes(), tmp_path / "again", provenance={"seed": 4})
    assert fingerprint(tmp_path / "again") != fingerprint(saved)


def test_missing_file_and_folder_name_the_key(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file.*encoder\.path"):
        load_network(tmp_path / "gone.safetensors", key=KEY)
    with pytest.raises(CheckpointError, match=r"is a folder.*encoder\.path"):
        load_network(tmp_path, key=KEY)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_file(saved, kept):
    data = saved.read_bytes()
    size = int(len(data) * kept) if isinstance(kept, float) else kept
    saved.write_bytes(data[:size])
    with pytest.raises(CheckpointError, match=r"attributes\.safetensors.*truncated.*encoder\.path"):
        load_network(saved, key=KEY)


def test_garbage_file(saved):
    saved.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(CheckpointError, match=r"truncated or no safetensors.*encoder\.path"):
        load_network(saved, key=KEY)


def test_pickle_is_refused_without_being_run(saved):
    torch.save(attributes(), saved)
    with pytest.raises(CheckpointError, match="no safetensors"):
        load_network(saved, key=KEY)


def test_safetensors_of_another_kind(saved):
    for metadata in (None, {"format": "idinvert-directions-1"}):
        save_file({"weight": torch.zeros(2)}, saved, metadata)
        with pytest.raises(CheckpointError, match=r"of another kind.*'idinvert-1'.*encoder\.path"):
            load_network(saved, key=KEY)


def test_newer_format(saved):
    rewrite(saved, format="idinvert-2")
    with pytest.raises(CheckpointError, match=r"newer format 'idinvert-2'.*'idinvert-1'.*upgrade"):
        load_network(saved, key=KEY)


def test_wrong_role(saved):
    with pytest.raises(
        CheckpointError, match=r"role 'attributes' \(AttributeNetwork\).*'encoder'.*encoder\.path"
    ):
        load_network(saved, key=KEY, expect="encoder")


@pytest.mark.parametrize("name", ["Sequential", "os.system", None])
def test_only_classes_of_the_table_are_built(saved, name):
    rewrite(saved, **{"class": name})
    with pytest.raises(CheckpointError, match=r"class .*expected one of.*'Encoder'.*encoder\.path"):
        load_network(saved, key=KEY)


def test_a_backbone_outside_its_table_is_not_built(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_network(encoder("v2"), path, provenance={})
    architecture = read_header(path).architecture
    architecture["backbone"]["class"] = "Popen"
    rewrite(path, architecture=json.dumps(architecture))
    with pytest.raises(CheckpointError, match=r"'Popen'.*BaseBackbone"):
        load_network(path, key=KEY)


@pytest.mark.parametrize("text", ["{", None, json.dumps({"depth": 3}), "[1]"])
def test_unusable_architecture(saved, text):
    rewrite(saved, architecture=text)
    with pytest.raises(CheckpointError, match=r"architecture.*encoder\.path"):
        load_network(saved, key=KEY)


def test_missing_extra_and_misshapen_tensors_are_named(saved):
    tensors = load_file(saved)
    del tensors["heads.bias"]
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["embedding.bias"] = torch.zeros(5)
    rewrite(saved, tensors=tensors)
    with pytest.raises(CheckpointError) as caught:
        load_network(saved, key=KEY)
    message = str(caught.value)
    assert "missing: heads.bias;" in message
    assert "extra: surplus.weight;" in message
    assert "misshapen: embedding.bias (5,) instead of (96,)" in message
    assert message.endswith(f"change {KEY}")


def test_long_lists_of_tensors_are_cut(saved):
    rewrite(saved, tensors={f"extra{i}": torch.zeros(1) for i in range(63)})
    with pytest.raises(CheckpointError, match=r"extra62 and 3 more"):
        load_network(saved, key=KEY)


def test_a_class_without_a_format_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"Linear.*expected one of"):
        save_network(nn.Linear(2, 2), tmp_path / "x", provenance={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["save_file", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(saved, monkeypatch, stage):
    before = saved.read_bytes()

    def full(*arguments, **keywords):
        if stage == "save_file":
            Path(arguments[1]).write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file if stage == "save_file" else os, stage, full)
    with pytest.raises(OutputError, match=r"No space left.*unchanged"):
        save_network(attributes(), saved, provenance={"seed": 4})
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert read_header(saved).provenance == {"seed": 3}


def test_an_interrupt_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(tensor_file, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_network(attributes(), saved, provenance={})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_the_file_is_readable_as_any_other(saved, tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_file_stays_the_one_that_is_locked(tmp_path):
    """`written_whole` keeps other processes off by a lock on the file that it made."""
    path = tmp_path / "half written"
    path.write_bytes(b"")
    before = path.stat().st_ino
    tensor_file.save_file({"a": torch.zeros(2)}, path, metadata={"b": "c"})
    assert path.stat().st_ino == before and torch.equal(load_file(path)["a"], torch.zeros(2))
