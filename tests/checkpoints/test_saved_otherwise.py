"""Files as people have them: networks saved alone, with a D or an encoder that is not read."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idinvert.checkpoints.__main__ import main
from idinvert.checkpoints.bundle import find_weights, open_network, sibling
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.families import recognise
from idinvert.checkpoints.families.encoder4editing import E4E
from idinvert.checkpoints.release import fingerprint
from idinvert.checkpoints.style_encoders import start
from idinvert.errors import CheckpointError
from tests.checkpoints import tiny
from tests.checkpoints.every_family import wrapped
from tests.checkpoints.families.checks import about_same, archive
from tests.checkpoints.families.genforce_stylegan2_files import Genforce as Genforce2
from tests.checkpoints.families.nvlabs_files import NVlabs
from tests.checkpoints.families.psp_encoders_files import others
from tests.checkpoints.families.reference import normal
from tests.checkpoints.families.rosinality_files import Rosinality
from tests.checkpoints.families.stylegan_files import Genforce, Idinvert
from tests.checkpoints.families.tf_stylegan2_files import TFStyleGAN2
from tests.checkpoints.hostile.foreign import pickled

pytestmark = pytest.mark.usefixtures("empty_cache")

KEY = "generator.path"


def images_are(found: Any, files: Any, made: dict[str, Any]) -> None:
    """The images are those of the original's formulas, to 1e-4."""
    w = normal(2, found.num_layers, found.w_dim, seed=5)
    g = {name: value.double() for name, value in made.items()}
    about_same(found.synthesis(w), files.synthesis(g, w.double()))


def test_a_generator_saved_alone(tmp_path, capsys):
    nv, ros = NVlabs(), Rosinality()
    stored = nv.stored(nv.g, name="Generator")
    (tmp_path / "nv.pkl").write_bytes(pickled(stored))
    contents = {"nv.pt": nv.g, "ros.pt": ros.g}
    contents["ddp.pt"] = {f"module.{name}": value for name, value in ros.g.items()}
    contents["nested.pt"] = {"state_dict": dict(nv.g)}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    for name in ("nv.pkl", *contents):
        path = tmp_path / name
        assert main(["inspect", str(path)]) == 0
        said = capsys.readouterr().out
        assert ("assumed" in said) is (name != "nv.pkl")
        options = ["--mapping-lr-mul", "0.02"] if name != "nv.pkl" else []
        out = tmp_path / f"{name}.safetensors"
        assert main(["convert", str(path), str(out), *options]) == 0
        files = ros if name in ("ros.pt", "ddp.pt") else nv
        images_are(open_checkpoint(out).generator, files, files.g)
        images_are(open_network(str(path), role="generator", key=KEY), files, files.g)
    torch.save(dict(ros.d), tmp_path / "d.pt")
    assert open_checkpoint(tmp_path / "d.pt").discriminator is not None


@pytest.mark.parametrize("spoil", ["class", "channels"])
def test_a_discriminator_that_does_not_fit_leaves_the_generator(spoil, tmp_path, capsys):
    files, file, out = Rosinality(), tmp_path / "x.pt", tmp_path / "g.safetensors"
    content = files.content()
    if spoil == "class":
        content["d"] = {"layers.0.weight": torch.zeros(2, 2)}
    else:
        weight = content["d"]["convs.0.0.weight"]
        content["d"]["convs.0.0.weight"] = torch.cat([weight, weight], dim=1)
    torch.save(content, file)
    assert main(["inspect", str(file)]) == 0
    said = capsys.readouterr().out
    assert "not read      discriminator" in said
    assert ("6 channels (two images)" in said) is (spoil == "channels")
    assert main(["convert", str(file), str(out), "--role", "generator"]) == 0
    images_are(open_checkpoint(out).generator, files, files.g)
    assert main(["convert", str(file), str(out), "--role", "discriminator", "--force"]) == 2
    find_weights(str(file), role="generator", key=KEY)
    with pytest.raises(CheckpointError, match=r"could not be read.*discriminator\.init=scratch"):
        sibling(str(file), role="discriminator", of="generator", key=KEY)


def test_encoders_that_are_not_read_are_named(tmp_path, capsys):
    decoder, file = Rosinality(), tmp_path / "x.pt"
    inside = {f"decoder.{name}": value for name, value in decoder.g.items()}
    for name, (state, opts, words) in others().items():
        for opened in (True, False):  # with the decoder, and alone
            torch.save({"state_dict": (inside if opened else {}) | state, "opts": opts}, file)
            assert main(["inspect", str(file)]) == (0 if opened else 2), name
            said = capsys.readouterr()
            assert all(word in (said.out if opened else said.err) for word in words), (name, said)
            assert "Traceback" not in said.err and said.err.count("\n") == (not opened)
            with pytest.raises(CheckpointError, match=words[0]):
                find_weights(str(file), role="encoder", key="encoder.path")
        torch.save({"state_dict": inside | state, "opts": opts}, file)
        images_are(open_network(str(file), role="generator", key=KEY), decoder, decoder.g)
    for nested in (True, False):
        content = Genforce().content(nested=nested)
        held = content["models"] if nested else content
        held["encoder"] = {"conv1.weight": torch.zeros(4, 3, 7, 7), "bn1.weight": torch.ones(4)}
        held["encoder"] |= {"fpn.lateral_layer0.weight": torch.zeros(2), "fc.weight": torch.ones(2)}
        torch.save(content, file)
        assert "EncoderRunner" in open_checkpoint(file).failed["encoder"]
        torch.save({"models": {"encoder": held["encoder"]}} if nested else held["encoder"], file)
        assert main(["inspect", str(file)]) == 2
        said = capsys.readouterr().err
        assert ("). It has an encoder of 4 tensors" in said) is nested
        assert ("EncoderRunner" in said) is nested


def test_e4es_single_style_code_encoder_is_read(tmp_path):
    content = wrapped("BackboneEncoderUsingLastLayerIntoW")
    torch.save(content, tmp_path / "w.pt")
    one, x = open_checkpoint(tmp_path / "w.pt").encoder, normal(1, 3, 64, 64, seed=1)
    for alias in ("SingleStyleCodeEncoder", "WEncoder"):  # e4e's, HyperStyle's
        content["opts"]["encoder_type"] = alias
        torch.save(content, tmp_path / "alias.pt")
        assert torch.equal(one(x), open_checkpoint(tmp_path / "alias.pt").encoder(x))


def test_what_a_file_does_not_say_is_assumed_aloud_and_can_be_given(tmp_path, capsys):
    fused, plain = Genforce(fused_from=8), Genforce()
    torch.save(fused.content(), tmp_path / "own.pth")
    torch.save(Idinvert().g, tmp_path / "idinvert.pth")
    own = str(tmp_path / "own.pth")
    assert main(["inspect", own]) == 0 and main(["inspect", str(tmp_path / "idinvert.pth")]) == 0
    said = capsys.readouterr().out
    assert "fused_scale=auto" in said and "final_tanh=false" in said and "final_tanh=true" in said
    images_are(open_checkpoint(own).generator, plain, fused.g)
    given = {"fused_scale": True, "final_tanh": None, "path": own}
    read = open_network(own, role="generator", key=KEY, settings=given)
    images_are(read, fused, fused.g)
    out = tmp_path / "out.safetensors"
    assert main(["convert", own, str(out), "--fused-scale", "true", "--final-tanh", "true"]) == 0
    w = normal(1, read.num_layers, read.w_dim, seed=1)
    about_same(open_checkpoint(out).generator.synthesis(w), read.synthesis(w).tanh().double())
    ways = [find_weights(own, role="generator", key=KEY, settings=s) for s in (None, given)]
    assert len({fingerprint(way) for way in ways}) == 2
    assert main(["inspect", own, "--fused-scale", "maybe"]) == 2
    assert main(["inspect", own, "--conv-clamp", "256"]) == 2
    assert "leave conv_clamp out" in capsys.readouterr().err


def test_a_bound_on_outputs_can_be_given(tmp_path, capsys):
    files, file, out = NVlabs(clamp=0.7), str(tmp_path / "g.pt"), str(tmp_path / "out.safetensors")
    torch.save(files.g, file)
    words = ["--conv-clamp", "0.7", "--mapping-lr-mul", "0.02"]
    assert main(["inspect", file]) == 0 and "conv_clamp=none" in capsys.readouterr().out
    assert main(["inspect", file, *words]) == 0
    said = capsys.readouterr().out
    assert "given         conv_clamp=0.7, mapping_lr_mul=0.02" in said and "assumed" not in said
    assert main(["convert", file, out, *words]) == 0
    images_are(open_checkpoint(out).generator, files, files.g)
    given = {"conv_clamp": 0.7, "mapping_lr_mul": 0.02}
    images_are(open_network(file, role="generator", key=KEY, settings=given), files, files.g)
    unbounded = open_network(file, role="generator", key=KEY, settings={"conv_clamp": "none"})
    assert unbounded.architecture["conv_clamp"] is None
    for wrong in ("0", "-1", "nan", "inf", "true", "256px"):
        assert main(["inspect", file, "--conv-clamp", wrong]) == 2
        assert "expected a number above 0 or none" in capsys.readouterr().err


def test_half_an_image_in_a_group_is_not_cut_to_whole_ones():
    plain, nv, tf = NVlabs().plain(), NVlabs(), TFStyleGAN2(group=2.5)
    plain["init_kwargs"]["D"]["epilogue_kwargs"]["mbstd_group_size"] = 2.5
    hammer = Genforce2(hammer=True).content()
    hammer["model_kwargs_init"]["discriminator"]["mbstd_groups"] = 2.5
    nv.group = 2.5  # type: ignore[assignment]
    stored = {"D": nv.stored(nv.d, name="Discriminator")}
    for content in (plain, stored, hammer, tf.content()):
        family = recognise(archive(content), key=KEY)
        reason = family.read(archive(content), key=KEY).failed["discriminator"]
        assert "is 2.5, expected a whole number" in reason


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 9_000, '{"discriminator": 1}', '{"a": ' * 999, "\xff", "1" * 2_000_000]
)
def test_a_strangers_list_of_what_was_not_read(text, tmp_path):
    tiny.bundle(tmp_path, "generator")
    (tmp_path / "not_read.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"not_read\.json: is damaged .*; delete it"):
        sibling(str(tmp_path), role="discriminator", of="generator", key=KEY)


def test_a_damaged_list_of_what_was_not_read_is_made_anew(tmp_path):
    content = Rosinality().content() | {"d": {"final_linear.1.weight": torch.zeros(2, 2)}}
    torch.save(content, tmp_path / "x.pt")
    copy = find_weights(str(tmp_path / "x.pt"), role="generator", key=KEY)
    whole = (copy.parent / "not_read.json").read_text()
    (copy.parent / "not_read.json").write_text("{")
    assert find_weights(str(tmp_path / "x.pt"), role="generator", key=KEY) == copy
    assert (copy.parent / "not_read.json").read_text() == whole


def test_starting_an_encoder_from_files_saved_otherwise(tmp_path):
    encoder = open_checkpoint(_saved(tmp_path / "e.pt", wrapped(E4E))).encoder
    content = wrapped(E4E)
    content["state_dict"] = {f"module.{n}": v for n, v in content["state_dict"].items()}
    weight = encoder.body.conv.weight.clone()
    encoder.body.conv.weight.zero_()
    start(encoder, _saved(tmp_path / "ddp.pt", content), key="encoder.path")
    assert torch.equal(encoder.body.conv.weight, weight)
    content["opts"]["encoder_type"] = np.zeros(2)  # compares with every word, to no bool
    with pytest.raises(CheckpointError, match=r"odd\.pkl: .*change encoder\.path"):
        start(encoder, _saved(tmp_path / "odd.pkl", content), key="encoder.path")


def _saved(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path
