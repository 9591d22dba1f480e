"""Every family in every way in which people save networks: opened as the original, or refused.

What opens gives the original's images and logits, computed by its own formulas; what does not is
refused with a reason that is listed here.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from idinvert.checkpoints import mean_code
from idinvert.checkpoints.__main__ import main
from idinvert.checkpoints.checkpoint import Checkpoint, open_checkpoint
from idinvert.checkpoints.families.encoder4editing import E4E, INTO_W
from idinvert.errors import CheckpointError
from tests.checkpoints import tiny
from tests.checkpoints.every_family import wrapped
from tests.checkpoints.families import tf_files
from tests.checkpoints.families.checks import about_same, wide
from tests.checkpoints.families.genforce_stylegan2_files import Genforce as Genforce2
from tests.checkpoints.families.idinvert_encoder_files import IdinvertEncoder, tuple_of
from tests.checkpoints.families.modules import homes, whole
from tests.checkpoints.families.nvlabs_files import NVlabs
from tests.checkpoints.families.reference import double, normal
from tests.checkpoints.families.rosinality_files import Rosinality
from tests.checkpoints.families.stylegan_files import Genforce, Idinvert, TFStyleGAN
from tests.checkpoints.families.tf_stylegan2_files import TFStyleGAN2
from tests.checkpoints.hostile.foreign import pickled


class Kind(NamedTuple):
    """A family's networks, the file that its code writes, and what must be said of a bare one."""

    files: Any
    content: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    given: dict[str, Any] = {}  # noqa: RUF012


def _genforce(g: dict[str, Any], d: dict[str, Any]) -> dict[str, Any]:
    return {"generator_smooth": g, "discriminator": d}


def _hammer(g: dict[str, Any], d: dict[str, Any]) -> dict[str, Any]:
    return {"models": _genforce(g, d), "running_metadata": {"iter": 7}}


def _nvlabs(files: NVlabs, g: dict[str, Any], d: dict[str, Any]) -> dict[str, Any]:
    return files.plain() | {"G_ema": g, "D": d}


def _kinds() -> dict[str, Kind]:
    nv, clamped = NVlabs(group=4), NVlabs(group=4, clamp=0.7)
    return {
        "nvlabs": Kind(nv, partial(_nvlabs, nv), {"mapping_lr_mul": 0.02}),
        "nvlabs, clamped": Kind(
            clamped, partial(_nvlabs, clamped), {"mapping_lr_mul": 0.02, "conv_clamp": 0.7}
        ),
        "rosinality": Kind(Rosinality(), lambda g, d: {"g_ema": g, "d": d}),
        "genforce": Kind(Genforce(), _genforce),
        "genforce, fused": Kind(Genforce(fused_from=8), _genforce, {"fused_scale": "true"}),
        "hammer": Kind(Genforce(hammer=True), _hammer),
        "genforce, StyleGAN2": Kind(Genforce2(hammer=False), _genforce),
        "hammer, StyleGAN2": Kind(Genforce2(hammer=True), _hammer),
        "idinvert": Kind(Idinvert(), lambda g, d: g),
    }


def _ways(kind: Kind) -> dict[str, Any]:
    """What a file holds, by the way; and whether it says what the networks were built with."""
    g, d = kind.files.g, kind.files.d

    def prefixed(state: dict[str, Any]) -> dict[str, Any]:
        return {f"module.{name}": value for name, value in state.items()}

    def half(state: dict[str, Any]) -> dict[str, Any]:
        return {n: v.half() if v.is_floating_point() else v for n, v in state.items()}

    ways = {
        "own": kind.content(g, d),
        "own, DDP": kind.content(prefixed(g), prefixed(d)),
        "own, half": kind.content(half(g), half(d)),
        "bare": g,
        "bare, DDP": prefixed(g),
        "bare, half": half(g),
        "state_dict": {"state_dict": g, "epoch": 3},
        "model": {"model": prefixed(g)},
        "module": whole(g),
        "modules": kind.content(whole(g), whole(d)) if d else whole(g),  # type: ignore[arg-type]
        "DataParallel": nn.DataParallel(whole(g)),
        "D": d,
        "D, module": whole(d),
    }
    if isinstance(kind.files, NVlabs):  # pickled classes that bring their attributes
        made_g = whole(kind.files.stored(g, name="Generator"))
        made_d = whole(kind.files.stored(d, name="Discriminator"))
        ways |= {
            "persistent": made_g,
            "persistents": {"G_ema": made_g, "D": made_d, "G": None, "augment_pipe": None},
            "persistent, DataParallel": nn.DataParallel(made_g),
        }
    return {way: content for way, content in ways.items() if d or way[:2] not in ("D", "D,")}


def _torch(content: Any, path: Path, *, new: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=new)


CONTAINERS: dict[str, Callable[[Any, Path], object]] = {
    "zip": partial(_torch, new=True),
    "legacy": partial(_torch, new=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
}


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A cache of its own, and a mean code from few samples where a file has none."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    few = mean_code.compute_mean_code
    monkeypatch.setattr(mean_code, "compute_mean_code", lambda g: few(g, samples=100))


def _is_the_original(found: Checkpoint, files: Any, *, half: bool) -> None:
    """Images, codes and logits are those of the original's formulas, of what is in the file."""
    rounded = [
        {n: v.half() if half and torch.is_tensor(v) else v for n, v in state.items()}
        for state in (files.g, files.d)
    ]
    g, d = (double(state) for state in rounded)
    if found.generator is not None:
        w = normal(1, found.generator.num_layers, found.generator.w_dim, seed=5)
        z = normal(2, found.generator.z_dim, seed=6)
        about_same(found.generator.synthesis(w), files.synthesis(g, w.double()))
        codes = wide(files.mapping(g, z.double()), found.generator)
        about_same(found.generator.mapping(z), codes)
    if found.discriminator is not None:
        x = normal(4, 3, 16, 16, seed=7)
        about_same(found.discriminator(x), files.judge(d, x.double()))


def _check(name: str, containers: Callable[[int], list[str]], folder: Path) -> None:
    kind, path = _kinds()[name], folder / "file"
    for i, (way, content) in enumerate(_ways(kind).items()):
        whole_file = way.startswith(("own", "modules", "persistents"))
        roles = ["generator"] if way[:2] not in ("D", "D,") else ["discriminator"]
        roles += ["discriminator"] if whole_file and kind.files.d else []
        told = way.startswith(("own", "modules", "persistent")) and "fused" not in name
        for container in containers(i):
            print(name, way, container)  # pytest shows it where it fails
            with homes():
                CONTAINERS[container](content, path)
            found = open_checkpoint(path, settings={} if told else kind.given)
            assert (list(found.networks), found.failed) == (roles, {})
            _is_the_original(found, kind.files, half="half" in way)


NAMES = list(_kinds())


@pytest.mark.parametrize("name", NAMES)
def test_every_way_opens(name, tmp_path):
    turn, order = NAMES.index(name), list(CONTAINERS)
    _check(name, lambda way: [order[(turn + way) % 3]], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_way_opens_in_every_container(name, tmp_path):
    _check(name, lambda way: list(CONTAINERS), tmp_path)


def _encoders() -> dict[str, dict[str, Any]]:
    """Files of encoders, and who reads them."""
    return {
        "idinvert": dict(IdinvertEncoder("B").e),
        **{kind: wrapped(kind) for kind in (E4E, "GradualStyleEncoder", INTO_W)},
    }


def _half(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _half(part) for name, part in value.items()}
    return value.half() if torch.is_tensor(value) and value.is_floating_point() else value


def test_encoders_in_every_way(tmp_path):
    path, x = tmp_path / "file", normal(1, 3, 32, 32, seed=1)
    for i, (name, content) in enumerate(_encoders().items()):
        x = normal(1, 3, 16 if name == "idinvert" else 32, 16 if name == "idinvert" else 32, seed=1)
        state = content.get("state_dict", content)
        prefixed = {f"module.{key}": value for key, value in state.items()}
        beside = {key: value for key, value in content.items() if "state_dict" in content}
        ways = {
            "own": content,
            "DDP": beside | {"state_dict": prefixed},
            "module": {**beside, "state_dict": whole(state)},
            "DataParallel": {**beside, "state_dict": nn.DataParallel(whole(state))},
            "half": _half(content),
            "rounded": _single(_half(content)),
        }
        codes = {}
        for j, (way, held) in enumerate(ways.items()):
            with homes():
                CONTAINERS[list(CONTAINERS)[(i + j) % 3]](held, path)
            found = open_checkpoint(path)
            assert found.failed == {} and found.encoder is not None, (name, way)
            codes[way] = found.encoder(x)
        for way, reference in (("half", "rounded"), *((way, "own") for way in list(ways)[1:4])):
            assert torch.equal(codes[way], codes[reference]), (name, way)
    with homes():  # without the options beside it nobody can tell pSp from e4e
        torch.save(whole(wrapped(E4E)["state_dict"]), path)
    found = open_checkpoint(path)
    assert found.generator is not None and "do not name its encoder_type" in found.failed["encoder"]


def _single(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _single(part) for name, part in value.items()}
    return value.float() if torch.is_tensor(value) and value.is_floating_point() else value


def test_tensorflow_in_every_way(tmp_path):
    path = tmp_path / "file"
    for i, files in enumerate((TFStyleGAN(), TFStyleGAN2(), TFStyleGAN(repeat_w=False))):
        for half in (False, True):
            kept = (files.g, files.d)
            if half:
                files.g, files.d = ({n: np.float16(v) for n, v in t.items()} for t in kept)
            g, d = (files.generator(files.g), files.discriminator(files.d))
            ways = {"generator, discriminator": (g, d, g), "generator": g, "discriminator": d}
            for roles, content in ways.items():
                path.write_bytes(pickled(content, protocol=(2, 4)[i % 2]))
                found = open_checkpoint(path)
                assert (", ".join(found.networks), found.failed) == (roles, {}), (i, roles)
                _is_the_original(found, files, half=False)
            files.g, files.d = kept
    for variant in ("A", "C"):
        path.write_bytes(pickled(tuple_of(variant)))
        assert list(open_checkpoint(path).networks) == ["generator", "discriminator", "encoder"]


def _recoloured(files: Any, channels: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """G and D for images of so many channels."""
    g, d = dict(files.g), dict(files.d)
    places = (("rgb", "weight", 0, g), ("rgb", "bias", 0, g), ("from_rgb", "weight", 1, d))
    picked = torch.tensor([j % 3 for j in range(channels)])
    for kind, tensor, axis, held in places if d else places[:2]:
        for i in range(len(files.channels)):
            name = files.name(kind, i, tensor)
            if name in held:
                native = files.to_native(kind, tensor, torch.as_tensor(held[name]))
                held[name] = files.to_file(kind, tensor, native.index_select(axis, picked))
    return g, d


def test_networks_of_other_colours(tmp_path, capsys):
    path, kinds = tmp_path / "file", _kinds()
    tensorflow = {"tf": TFStyleGAN(), "tf2": TFStyleGAN2()}
    for channels, words in ((1, "1 channel (grey)"), (4, "4 channels (RGBA)")):
        for name, files in {**{n: kind.files for n, kind in kinds.items()}, **tensorflow}.items():
            g, d = _recoloured(files, channels)
            if name in tensorflow:
                made = files.generator(g)
                path.write_bytes(pickled((made, files.discriminator(d), made)))
            else:
                torch.save(kinds[name].content(g, d), path)
            assert main(["inspect", str(path)]) == 2, name
            said = capsys.readouterr().err
            assert words in said and "Traceback" not in said and said.count("\n") == 1, said
            if d:
                with pytest.raises(CheckpointError, match=r"network [dD].*channel"):
                    open_checkpoint(path, role="discriminator")


def _refused() -> dict[str, tuple[Any, str]]:
    """Networks that no family reads: what a file holds, and what is said."""
    alias_free = NVlabs().stored({"synthesis.input.weight": torch.ones(2)}, name="Generator")
    eg3d = {f"backbone.{name}": value for name, value in NVlabs().g.items()}
    lod, one = torch.zeros(()), torch.ones(1)
    pggan_g = {"lod": lod, "layer0.weight": one, "output0.weight": one}
    pggan_d = {"lod": lod, "input1.weight": one, "layer1.weight": one}
    own = "network of this project's own without its architecture"
    pggan = tf_files.network(
        "G", {"4x4/Dense/weight": np.ones((4, 4), "f4")}, function="", settings={}
    )
    return {
        "StyleGAN3": ({"G": None, "G_ema": alias_free}, "alias-free layers no network here has"),
        "StyleGAN3, module": (whole(alias_free), "alias-free"),
        "StyleGAN3, bare": ({"synthesis.input.weight": one}, "alias-free"),
        "EG3D": ({"G_ema": NVlabs().stored(eg3d, name="TriPlaneGenerator")}, "is EG3D"),
        "EG3D, bare": (eg3d, "is EG3D"),
        "EG3D, DDP": ({"G_ema": {f"module.{n}": v for n, v in eg3d.items()}}, "is EG3D"),
        "PGGAN, TensorFlow": ((pggan, pggan, pggan), "is PGGAN"),
        "PGGAN, G of TensorFlow": (pggan, "is PGGAN"),
        "PGGAN": ({"generator_smooth": pggan_g, "discriminator": pggan_d}, "is PGGAN"),
        "PGGAN, nested": ({"models": {"generator": pggan_g}}, "is PGGAN"),
        "PGGAN, module": (whole(pggan_g), "is PGGAN"),
        "PGGAN, D": (pggan_d, "is PGGAN"),
        "own G": (tiny.generator().state_dict(), own),
        "own D": (tiny.discriminator().state_dict(), own),
        "own E": (tiny.encoder().state_dict(), own),
        "own G, module": (whole(tiny.generator().state_dict()), own),
        "a function": ({"g_ema": print}, "'builtins.print'"),
    }


def test_what_is_not_read_is_named(tmp_path, capsys):
    path = tmp_path / "file"
    for name, (content, words) in _refused().items():
        stored = "Stored" in repr(content)[:200]
        with homes():
            raw = b"" if stored else pickle.dumps(content)
        path.write_bytes(raw or pickled(content))
        assert main(["inspect", str(path)]) == 2, name
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said and said.count("\n") == 1, (name, said)


def test_our_own_files_in_every_way(tmp_path):
    made = tiny.generator(4, resolution=16)
    tiny.lightning(tmp_path / "run", resolution=16)
    tiny.bundle(tmp_path / "bundle")
    for path in (
        next(tmp_path.rglob("*.ckpt")),
        tmp_path / "run",
        tmp_path / "run/weights/generator.safetensors",
        tmp_path / "bundle",
    ):
        found = open_checkpoint(path)
        assert found.generator is not None and found.failed == {}
    assert tiny.same(open_checkpoint(next(tmp_path.rglob("*.ckpt"))).generator, made)
