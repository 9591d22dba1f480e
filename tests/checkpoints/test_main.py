"""``python -m idinvert.checkpoints``, command by command, on files of a few kilobytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from idinvert.checkpoints.__main__ import main
from idinvert.checkpoints.bundle import sibling
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.families import FAMILIES
from idinvert.checkpoints.fetch import all_entries
from idinvert.checkpoints.release import fingerprint, read_header, save_network
from idinvert.data.content import weights_cache_dir
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator
from tests.checkpoints import tiny

pytestmark = pytest.mark.usefixtures("empty_cache")

FACTS = {
    "family",
    "resolution",
    "num_layers",
    "z_dim",
    "w_dim",
    "multi_w",
    "sha256",
    "bytes",
    "licence",
    "networks",
}


@pytest.fixture
def foreign(tmp_path):
    return tiny.rosinality(tmp_path / "ffhq.pt")


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_inspect_in_json(foreign, capsys):
    assert run("inspect", foreign, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() >= FACTS
    assert (facts["family"], facts["resolution"], facts["num_layers"]) == ("rosinality", 8, 4)
    assert (facts["z_dim"], facts["w_dim"], facts["multi_w"]) == (8, 8, False)
    assert facts["networks"].keys() == {"generator", "discriminator"}
    assert facts["networks"]["generator"]["class"] == "StyleGAN2Generator"
    made = tiny.generator()
    count = sum(p.numel() for p in made.parameters())
    assert facts["networks"]["generator"]["parameters"] == count
    assert facts["networks"]["generator"]["architecture"]["channels"] == [6, 4]
    assert facts["published_as"] is None and "unknown for this file" in facts["licence"]


def test_inspect_in_words(foreign, capsys):
    assert run("inspect", foreign) == 0
    text = capsys.readouterr().out
    for word in ("rosinality", "8 px, L = 4", "mean code     stored", "not inside    encoder"):
        assert word in text


def test_inspect_computes_and_writes_nothing(tmp_path, capsys, monkeypatch):
    file = tiny.rosinality(tmp_path / "x.pt", with_mean=False)
    monkeypatch.setattr(
        "idinvert.checkpoints.checkpoint.mean_code", lambda g: pytest.fail("computed")
    )
    assert run("inspect", file) == 0
    assert "mean code     not in the file" in capsys.readouterr().out
    assert not weights_cache_dir().exists()


@pytest.mark.parametrize("kind", ["bundle", "encoder", "lightning", "shipped"])
def test_inspect_our_own(kind, tmp_path, capsys):
    place: str | Path = {
        "bundle": lambda: tiny.bundle(tmp_path),
        "encoder": lambda: tiny.bundle(tmp_path, "encoder") / "encoder.safetensors",
        "lightning": lambda: tiny.lightning(tmp_path / "run"),
        "shipped": lambda: "shipped:faces_mini",
    }[kind]()
    assert run("inspect", place) == 0
    assert run("inspect", place, "--json") == 0
    assert '"family"' in capsys.readouterr().out


def test_inspect_a_published_file_names_it(foreign, capsys, monkeypatch):
    import dataclasses
    import hashlib

    from idinvert.checkpoints.registry import CHECKPOINTS

    sha256 = hashlib.sha256(foreign.read_bytes()).hexdigest()
    known = dataclasses.replace(CHECKPOINTS["e4e_ffhq"], sha256=sha256)
    monkeypatch.setitem(CHECKPOINTS, "e4e_ffhq", known)
    assert run("inspect", foreign) == 0
    text = capsys.readouterr().out
    assert "published as  e4e_ffhq" in text and f"licence       {known.licence}" in text


def test_every_family_has_a_licence():
    assert all(family.licence for family in FAMILIES)


def test_convert_to_a_file_with_its_companions(foreign, tmp_path, capsys):
    out = tmp_path / "new" / "ffhq.safetensors"
    assert run("convert", foreign, out) == 0
    text = capsys.readouterr().out
    assert f"generator.path={out}" in text
    assert [file.name for file in sorted(out.parent.iterdir())] == [
        "ffhq.discriminator.safetensors",
        "ffhq.safetensors",
    ]
    assert tiny.same(open_checkpoint(out).generator, tiny.generator())
    found = sibling(str(out), role="discriminator", of="generator", key="generator.path")
    assert found == out.with_name("ffhq.discriminator.safetensors")
    stands_on = read_header(found).provenance["stands_on"]
    assert stands_on == {"generator": fingerprint(out)}


def test_convert_to_a_folder(foreign, tmp_path):
    assert run("convert", foreign, tmp_path / "bundle") == 0
    found = open_checkpoint(tmp_path / "bundle")
    assert found.networks.keys() == {"generator", "discriminator"}
    assert tiny.same(found.networks["discriminator"], tiny.discriminator())


def test_convert_one_role(foreign, tmp_path, capsys):
    out = tmp_path / "d.safetensors"
    assert run("convert", foreign, out, "--role", "discriminator") == 0
    assert list(open_checkpoint(out).networks) == ["discriminator"]
    assert not list(tmp_path.glob("d.*.safetensors"))
    assert run("convert", foreign, out, "--role", "encoder", "--force") == 2
    assert "no encoder; change --role" in capsys.readouterr().err


def test_convert_the_other_generator(tmp_path):
    file, out = tiny.lightning(tmp_path / "run"), tmp_path / "g.safetensors"
    assert run("convert", file, out, "--network", "g") == 0
    assert tiny.same(open_checkpoint(out).generator, tiny.generator(3))


@pytest.mark.parametrize("layout", ["rosinality", "nvlabs"])
def test_convert_out_and_back_is_exact(layout, tmp_path):
    source = tiny.bundle(tmp_path / "own")
    out, back = tmp_path / "x.pt", tmp_path / "back"
    assert run("convert", source, out, "--to", layout) == 0
    assert "g_ema" in {name.lower() for name in torch.load(out, weights_only=True)}
    assert run("convert", out, back) == 0
    found = open_checkpoint(back)
    assert tiny.same(found.generator, tiny.generator())
    assert tiny.same(found.networks["discriminator"], tiny.discriminator())
    assert open_checkpoint(out).family == layout


def test_convert_only_the_generator_out(tmp_path):
    source, out = tiny.bundle(tmp_path / "own"), tmp_path / "x.pt"
    assert run("convert", source, out, "--to", "rosinality", "--role", "generator") == 0
    assert "d" not in torch.load(out, weights_only=True)


def test_convert_replaces_nothing_unasked(foreign, tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"precious")
    assert run("convert", foreign, out) == 2
    assert "--force" in capsys.readouterr().err and out.read_bytes() == b"precious"
    assert run("convert", foreign, tmp_path / "x.pt", "--to", "nvlabs") == 0
    assert run("convert", foreign, tmp_path / "x.pt", "--to", "nvlabs") == 2
    assert run("convert", foreign, out, "--force") == 0
    assert tiny.same(open_checkpoint(out).generator, tiny.generator())


def own(folder: Path) -> Path:
    """A bundle whose encoder was trained with its generator and discriminator."""
    tiny.bundle(folder, "generator")
    other = {"stands_on": {"generator": "another"}}
    save_network(tiny.discriminator(), folder / "discriminator.safetensors", provenance=other)
    stands_on = {
        "generator": fingerprint(generator_of(folder)),
        "discriminator": fingerprint(folder / "discriminator.safetensors"),
        "perceptual": "1",
    }
    known = {"run": "abc", "seed": 7, "stands_on": stands_on}
    save_network(tiny.encoder(), folder / "encoder.safetensors", provenance=known)
    return folder


def generator_of(folder: Path) -> Path:
    return folder / "generator.safetensors"


def test_convert_in_half_the_size(tmp_path):
    source, out = own(tmp_path / "whole"), tmp_path / "half"
    assert run("convert", source, out, "--half") == 0
    found = open_checkpoint(out)
    for role, network in found.networks.items():
        for name, tensor in network.state_dict().items():
            exact = open_checkpoint(source).networks[role].state_dict()[name]
            assert tensor.dtype == exact.dtype
            rounded = exact.half().to(exact.dtype) if exact.is_floating_point() else exact
            assert torch.equal(tensor, rounded), (role, name)
    with safe_open(generator_of(out), framework="pt") as file:
        assert file.get_tensor("w_avg").dtype == torch.float16
    assert read_header(generator_of(out)).provenance["rounded"] == "float16"


def test_convert_keeps_what_a_file_knows_of_itself(tmp_path):
    source, out = own(tmp_path / "whole"), tmp_path / "copy"
    assert run("convert", source, out) == 0
    known = read_header(out / "encoder.safetensors").provenance
    assert (known["run"], known["seed"]) == ("abc", 7)
    assert known["stands_on"] == {
        "generator": fingerprint(generator_of(out)),
        "discriminator": fingerprint(out / "discriminator.safetensors"),
        "perceptual": "1",
    }
    assert known["source"]["family"] == "idinvert" and "source" not in known["source"]
    other = read_header(out / "discriminator.safetensors").provenance
    assert other["stands_on"] == {"generator": "another"}
    assert run("convert", out, tmp_path / "again") == 0
    known = read_header(tmp_path / "again" / "encoder.safetensors").provenance
    assert known["source"]["source"]["family"] == "idinvert"


def test_convert_refuses_half_for_numbers_beyond_its_range(tmp_path, capsys):
    network = tiny.generator()
    network.w_avg.fill_(1e5)
    save_network(network, generator_of(tmp_path), provenance={})
    assert run("convert", tmp_path, tmp_path / "out", "--half") == 2
    message = capsys.readouterr().err
    assert "w_avg holds 100000" in message and "leave --half out" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--half", "--to", "nvlabs"], "--half: is of this project's files"),
        (["--to", "onnx"], "--to onnx: expected one of native, rosinality, nvlabs"),
        (["--role", "mapping"], "--role mapping: expected one of"),
        (["--network", "best"], "'best'"),
        (["--to", "nvlabs", "--role", "discriminator"], "no --role or --role generator"),
    ],
)
def test_convert_with_words_that_mean_nothing(words, message, foreign, tmp_path, capsys):
    assert run("convert", foreign, tmp_path / "out.safetensors", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_convert_out_says_what_it_leaves_out(tmp_path, capsys):
    tiny.bundle(tmp_path / "all")
    for to in ("rosinality", "nvlabs"):
        assert run("convert", tmp_path / "all", tmp_path / f"{to}.pt", "--to", to) == 0
        said = capsys.readouterr().out
        assert f"encoder is left out: the {to} layout has no place for it" in said
        assert ("widths [6, 4] follow no rule" in said) is (to == "rosinality")
    wide = StyleGAN2Discriminator(resolution=8, channels=[6, 4], fc_width=9)
    save_network(wide, tmp_path / "all/discriminator.safetensors", provenance={})
    for to in ("rosinality", "nvlabs"):
        assert run("convert", tmp_path / "all", tmp_path / "x.pt", "--to", to, "--force") == 2
        assert "fc_width=9" in capsys.readouterr().err and not (tmp_path / "x.pt").exists()


def test_convert_an_encoder_out_is_refused(tmp_path, capsys):
    file = tiny.bundle(tmp_path, "encoder") / "encoder.safetensors"
    assert run("convert", file, tmp_path / "x.pt", "--to", "rosinality") == 2
    assert "expected a checkpoint with a generator" in capsys.readouterr().err


def test_list(capsys):
    assert run("list") == 0
    text = capsys.readouterr().out
    for entry in all_entries().values():
        assert entry.name in text and entry.url in text
    assert "unknown (its publisher states none)" in text
    assert run("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(all_entries())
    assert {row["sha256"] for row in rows if row["name"].startswith("e4e")} == {None}


def test_fetch_from_a_file(foreign, capsys):
    assert run("fetch", "e4e_ffhq", "--from", foreign) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "states no sha256" in lines[0]
    assert lines[-1] == str(weights_cache_dir() / "e4e_ffhq_encode.pt")
    assert run("list") == 0
    assert "e4e_ffhq  (in the cache)" in capsys.readouterr().out


def test_fetch_what_there_is_not(capsys):
    assert run("fetch", "e4e_fhq") == 2
    assert "did you mean e4e_ffhq" in capsys.readouterr().err


def test_errors_are_one_line_and_no_traceback(tmp_path, capsys):
    assert run("inspect", tmp_path / "absent") == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_interrupted(monkeypatch, capsys):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("idinvert.checkpoints.fetch.fetch", stop)
    assert run("fetch", "e4e_ffhq") == 130
    assert "again to continue" in capsys.readouterr().err


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit):
        run()
    assert "inspect | convert | list | fetch" in capsys.readouterr().err


def test_as_a_process(foreign):
    done = subprocess.run(
        [sys.executable, "-m", "idinvert.checkpoints", "inspect", str(foreign), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["family"] == "rosinality" and done.stderr == ""
