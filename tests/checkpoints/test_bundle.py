"""Networks by role from bundles, runs and foreign files, which are read once and kept."""

import hashlib
import os
from pathlib import Path

import pytest
import torch

from idinvert.checkpoints import bundle, native_copies
from idinvert.checkpoints.bundle import find_weights, open_features, open_network, sibling
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.release import fingerprint, opened_folder, read_header, save_network
from idinvert.errors import CheckpointError
from idinvert.networks.attributes import AttributeNetwork
from tests.checkpoints import tiny

pytestmark = pytest.mark.usefixtures("empty_cache")

KEY = "generator.path"


@pytest.fixture
def foreign(tmp_path):
    return tiny.rosinality(tmp_path / "ffhq.pt")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_foreign_file_is_a_bundle(foreign):
    found = open_network(str(foreign), role="generator", key=KEY)
    assert tiny.same(found, tiny.generator()) and not found.training
    beside = sibling(str(foreign), role="discriminator", of="generator", key=KEY)
    assert beside is not None
    assert tiny.same(open_network(str(beside), role="discriminator", key=KEY), tiny.discriminator())


def test_its_fingerprint_is_that_of_the_file_itself(foreign):
    for role in ("generator", "discriminator"):
        path = find_weights(str(foreign), role=role, key=KEY)
        assert fingerprint(path) == digest(foreign)[:16]
    assert fingerprint(foreign) == digest(foreign)[:16]
    own = tiny.bundle(foreign.parent / "own", "generator") / "generator.safetensors"
    assert fingerprint(find_weights(str(own), role="generator", key=KEY)) == digest(own)[:16]


def test_its_provenance_says_where_it_comes_from(foreign):
    header = read_header(find_weights(str(foreign), role="discriminator", key=KEY))
    source = header.provenance["source"]
    assert source["family"] == "rosinality" and source["file"] == "ffhq.pt"
    assert source["sha256"] == digest(foreign) and source["meta"]["network"] == "g_ema"
    assert header.provenance["stands_on"] == {"generator": digest(foreign)[:16]}


def test_it_is_read_once(foreign, monkeypatch):
    first = find_weights(str(foreign), role="generator", key=KEY)
    monkeypatch.setattr(native_copies, "open_checkpoint", lambda *a, **k: pytest.fail("read again"))
    assert find_weights(str(foreign), role="generator", key=KEY) == first
    moved = foreign.rename(foreign.with_name("renamed.bin"))
    assert find_weights(str(moved), role="generator", key=KEY) == first


def test_a_damaged_copy_is_made_anew(foreign, capsys):
    path = find_weights(str(foreign), role="generator", key=KEY)
    good = path.read_bytes()
    for harm in (good[:100], good[:-1] + bytes([good[-1] ^ 1])):
        path.write_bytes(harm)
        assert find_weights(str(foreign), role="generator", key=KEY).read_bytes() == good
        assert f"{path.parent} is damaged, and made anew from" in capsys.readouterr().out


def test_a_changed_file_is_another_one(foreign):
    first = find_weights(str(foreign), role="generator", key=KEY)
    content = torch.load(foreign, weights_only=True)
    content["g_ema"]["input.input"] += 1
    torch.save(content, foreign)
    second = find_weights(str(foreign), role="generator", key=KEY)
    assert second != first and fingerprint(second) == digest(foreign)[:16]


def test_copies_by_other_readers_are_made_anew(foreign, monkeypatch):
    first = find_weights(str(foreign), role="generator", key=KEY)
    monkeypatch.setattr(native_copies, "_readers", lambda: "00000000")
    second = find_weights(str(foreign), role="generator", key=KEY)
    assert second.parent.name.endswith("-00000000")
    assert [folder.name for folder in opened_folder().iterdir()] == [second.parent.name]
    assert first.read_bytes() == second.read_bytes() if first.exists() else True
    assert fingerprint(second) == digest(foreign)[:16]


def test_another_process_was_first(foreign, monkeypatch):
    real = os.rename

    def overtaken(source, target):
        tiny.bundle(Path(target), "generator")
        real(source, target)  # refused: the folder is there and not empty

    monkeypatch.setattr(native_copies.os, "rename", overtaken)
    path = find_weights(str(foreign), role="generator", key=KEY)
    assert read_header(path).provenance == {"seed": 7}
    assert len(list(opened_folder().iterdir())) == 1


def test_a_cache_that_cannot_be_written(foreign, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(CheckpointError, match="IDINVERT_CACHE"):
        find_weights(str(foreign), role="generator", key=KEY)


def test_a_crash_leaves_nothing_half_written(foreign, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native_copies, "write_networks", full)
    with pytest.raises(CheckpointError, match="No space left"):
        find_weights(str(foreign), role="generator", key=KEY)
    assert list(opened_folder().iterdir()) == []


def test_a_role_that_is_not_inside_says_what_is(tmp_path):
    lone = tiny.rosinality(tmp_path / "g.pt", with_d=False)
    assert sibling(str(lone), role="discriminator", of="generator", key=KEY) is None
    with pytest.raises(CheckpointError, match="holds generator, but no encoder") as caught:
        find_weights(str(lone), role="encoder", key="encoder.path")
    assert "encoder.path" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"discriminator\.init=scratch"):
        find_weights(str(lone), role="discriminator", key="discriminator.path")


def test_d_stands_beside_a_converted_generator(tmp_path):
    first, second = tiny.bundle(tmp_path / "a"), tiny.bundle(tmp_path / "b")
    path = (first / "generator.safetensors").rename(tmp_path / "ffhq.safetensors")
    assert sibling(str(path), role="discriminator", of="generator", key=KEY) is None
    named = (first / "discriminator.safetensors").rename(
        tmp_path / "ffhq.discriminator.safetensors"
    )
    (second / "discriminator.safetensors").rename(tmp_path / "discriminator.safetensors")
    assert sibling(str(path), role="discriminator", of="generator", key=KEY) == named


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"does not exist.*generator\.safetensors"):
        find_weights(str(tmp_path / "absent"), role="generator", key=KEY)
    with pytest.raises(CheckpointError, match=r"has no generator\.safetensors"):
        find_weights(str(tmp_path), role="generator", key=KEY)


def test_a_file_of_no_family(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"no checkpoint family.*generator\.path"):
        find_weights(str(tmp_path / "x.pt"), role="generator", key=KEY)


def test_a_checkpoint_of_our_own_run_keeps_its_provenance(tmp_path):
    file = tiny.lightning(tmp_path / "run")
    provenance = read_header(find_weights(str(file), role="generator", key=KEY)).provenance
    assert provenance["run"] == "abc" and provenance["nimg"] == 640
    assert provenance["source"]["family"] == "lightning"


def test_a_domain_without_shipped_networks_says_how_to_train_them(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "assets_folder", lambda: tmp_path)
    for name in ("towers_mini", "churches_mini"):
        (tmp_path / name).mkdir()
    for name, role, experiment in (
        ("towers_mini", "attributes", "attributes"),
        ("churches_mini", "generator", "gan"),
        ("churches_mini", "encoder", "domain_guided"),
        ("all_mini", "generator", "gan"),
    ):
        with pytest.raises(CheckpointError, match=f"experiment={experiment} data={name}"):
            find_weights(f"shipped:{name}", role=role, key="some.path")


def test_shipped_networks_by_name(tmp_path, monkeypatch):
    assert bundle.assets_folder() == Path(bundle.__file__).parents[1] / "assets"
    inside = tmp_path / "assets"
    monkeypatch.setattr(bundle, "assets_folder", lambda: inside)
    file = inside / "faces_mini" / "generator.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"g")
    (tmp_path / "outside.safetensors").write_bytes(b"o")
    for name in ("faces_mini", "faces_mini/generator.safetensors"):
        assert find_weights(f"shipped:{name}", role="generator", key="some.path") == file
    for name in ("faces", "", "../outside.safetensors", "faces_mini/generator"):
        for door in (find_weights, open_checkpoint):
            role = {"role": "generator"} if door is find_weights else {}
            with pytest.raises(CheckpointError) as caught:
                door(f"shipped:{name}", key="some.path", **role)
            said = f"some.path=shipped:{name}: nothing of this name is shipped"
            assert said in str(caught.value) and "shipped:faces_mini" in str(caught.value)


def test_the_attribute_network_is_f(tmp_path):
    torch.manual_seed(0)
    network = AttributeNetwork(resolution=16, kinds=["binary"], names=["smile"], width=8)
    save_network(network, tmp_path / "attributes.safetensors", provenance={})
    f = open_features(str(tmp_path / "attributes.safetensors"), key="perceptual.path")
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(f(x), network.features(x), rtol=0, atol=0)
    assert not any(p.requires_grad for p in f.parameters())
