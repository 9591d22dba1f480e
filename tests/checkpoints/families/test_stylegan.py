"""StyleGAN in every layout: the originals' images and logits in float64, every tensor's place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import genforce, idinvert, tf_stylegan
from idinvert.checkpoints.families.family import Family
from idinvert.errors import CheckpointError

from .checks import (
    KEY,
    Tensors,
    archive,
    check_discriminator,
    check_every_key_is_named,
    check_every_tensor_counts,
    check_generator,
    rebuilt,
    whole,
)
from .reference import double, normal
from .stylegan_files import Genforce, Idinvert, TFStyleGAN


class Layout(NamedTuple):
    """A family, what makes its networks, and a file's content of the tensors of G and D."""

    family: Family
    make: Callable[..., Any]
    content: Callable[[Any, Tensors, Tensors], Any]


def _tensorflow(files: TFStyleGAN, g: Tensors, d: Tensors) -> Any:
    return files.generator(files.g), files.discriminator(d), files.generator(g)


LAYOUTS = {
    "genforce": Layout(
        genforce.STYLEGAN,
        Genforce,
        lambda files, g, d: {"generator_smooth": g, "discriminator": d},
    ),
    "idinvert": Layout(idinvert.PYTORCH, Idinvert, lambda files, g, d: g),
    "tensorflow": Layout(tf_stylegan.FAMILY, TFStyleGAN, _tensorflow),
    "tensorflow, multi-w": Layout(idinvert.TENSORFLOW, TFStyleGAN, _tensorflow),
}
LARGE = {"channels": (4, 4, 3, 3, 2, 2)}  # 128 px, from where layers are fused
CASES: dict[str, list[dict[str, Any]]] = {
    "genforce": [
        {"hammer": hammer, **case}
        for hammer in (False, True)
        for case in ({}, {"repeat_w": False}, {"hidden": 7}, {**LARGE, "depth": 1})
    ],
    "idinvert": [
        {},
        {"repeat_w": True},
        {"fused_from": 8},
        {"fused_from": 16},
        {**LARGE, "depth": 1},
        {**LARGE, "fused_from": 4096},
    ],
    "tensorflow": [
        {},
        {"colours": False},
        {"settings": {"fused_scale": True}, "fused_from": 8},
        {"settings": {"fused_scale": False}, "fused_from": 4096},
        {"hidden": 7},
        LARGE,
        {**LARGE, "settings": {"fused_scale": False}, "fused_from": 4096},
        {"group": 2},
        {"group": 0},
    ],
    "tensorflow, multi-w": [{"repeat_w": False}],
}
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("genforce", {"hammer": False}),
    ("genforce", {"hammer": True}),
    ("idinvert", {}),
    ("idinvert", {"fused_from": 8}),
    ("tensorflow", {}),
]


def read(
    family: Family, content: Any, network: str | None = None, *, kind: str = "torch_zip"
) -> Checkpoint:
    assert family.recognise(archive(content, kind=kind))
    return whole(family.read(archive(content, kind=kind), key=KEY, network=network))


def refused(family: Family, content: Any, *words: str, network: str | None = None) -> None:
    with pytest.raises(CheckpointError) as error:
        read(family, content, network)
    for word in (*words, "some.file", KEY):
        assert word in str(error.value)


@pytest.mark.parametrize("name", CASES)
def test_images_and_logits_are_the_originals(name):
    layout = LAYOUTS[name]
    for case in CASES[name]:
        files = layout.make(**case)
        found = read(layout.family, layout.content(files, files.g, files.d))
        g, d, native = double(files.g), double(files.d), found.generator
        check_generator(
            native,
            synthesis=lambda w, files=files, g=g: files.synthesis(g, w),
            mapping=lambda z, files=files, g=g: files.mapping(g, z),
        )
        assert native.multi_w is not files.repeat_w
        if name != "idinvert":
            fused = case.get("settings", {}).get("fused_scale", False)
            check_discriminator(
                found.discriminator,
                lambda x, files=files, d=d, fused=fused: files.judge(d, x, fused=fused),
                batch=8,
            )
        mean = torch.as_tensor(files.g[files.name("mean")])
        rows = mean.reshape(-1, native.w_dim).expand_as(native.w_avg)
        assert torch.equal(native.w_avg, rows)
        if files.repeat_w or files.mean_each:
            assert found.latent_avg is not None
            assert torch.equal(found.latent_avg.flatten(), mean.flatten())
        else:  # the mean of layer 0 is none of the others; it is computed then
            assert found.latent_avg is None
        if name == "idinvert":
            expected = 128 if case == LARGE | {"depth": 1} else files.fused_from
            assert native.architecture["fused_from"] >= min(expected, 128)


@pytest.mark.parametrize(("name", "case"), SMALL)
def test_every_tensor_counts(name, case):
    layout = LAYOUTS[name]
    files = layout.make(**{"channels": (4, 3)} | case)
    z, x = normal(2, 6, seed=2).double(), normal(2, 3, 8, 8, seed=4).double()

    def images(tensors):
        native = rebuilt(read(layout.family, layout.content(files, tensors, files.d)).generator)
        p = double(tensors)
        return native(z), files.synthesis(p, files.mapping(p, z))

    def logits(tensors):
        content = layout.content(files, files.g, tensors)
        native = rebuilt(read(layout.family, content).discriminator)
        return native(x), files.judge(double(tensors), x)

    ends = ("kernel", "filter", "lod", "w_avg", "dlatent_avg", "truncation")
    unused = ("synthesis.output0", "G_synthesis/ToRGB_lod1", "input1", "FromRGB_lod1")

    def fixed(tensors):
        return [key for key in tensors if key.endswith(ends) or key.startswith(unused)]

    check_every_tensor_counts(files.g, images, fixed=fixed(files.g))
    if files.d:
        check_every_tensor_counts(files.d, logits, fixed=fixed(files.d))


# Without a fused layer's filters, its key cannot be told from that of a plain one.
@pytest.mark.parametrize(("name", "case"), [case for case in SMALL if "fused_from" not in case[1]])
def test_every_key_is_named(name, case):
    layout = LAYOUTS[name]
    files = layout.make(**{"channels": (4, 3)} | case)
    unused = ("synthesis.output0", "G_synthesis/ToRGB_lod1", "truncation.truncation")
    mark = {
        "genforce": "synthesis.layer0.const",
        "idinvert": "synthesis.layer0.epilogue.style_mod.dense.fc.weight",
        "tensorflow": "G_synthesis/4x4/Const/StyleMod/weight",
    }[name]
    if name == "tensorflow":
        unused += ("G_synthesis/lod",)

    def read_g(tensors):
        return read(layout.family, layout.content(files, tensors, files.d))

    check_every_key_is_named(files.g, read_g, unused=unused, mark=mark)


def test_which_generator():
    made, names = Genforce(), ("generator_smooth", "generator")
    for family, content, (ema, g) in (
        (genforce.STYLEGAN, made.content(), names),
        (genforce.STYLEGAN, made.content(nested=True), names),
        (genforce.STYLEGAN, made.content(nested=True, wrapped=True), names),
        (tf_stylegan.FAMILY, TFStyleGAN().content(), ("Gs", "G")),
    ):
        averaged = read(family, content).generator.synthesis.const
        held = ["G", "D", "Gs"] if g == "G" else [ema, g, "discriminator"]
        for network, expected in {None: 0, ema: 0, "g_ema": 0, g: 1, "g": 1}.items():
            found = read(family, content, network)
            assert torch.equal(found.generator.synthesis.const, averaged + expected)
            found.meta.pop("assumed", None)
            assert found.meta == {"network": g if expected else ema, "networks": held}
    found = read(genforce.STYLEGAN, made.g)
    assert found.discriminator is None and found.meta["network"] == "generator"
    refused(genforce.STYLEGAN, made.g, f"'{names[0]}'", "expected one of", network=names[0])
    found = read(tf_stylegan.FAMILY, TFStyleGAN().generator())
    assert found.discriminator is None and found.meta["networks"] == ["Gs"]


def test_what_hammer_says_of_the_networks():
    files = Genforce(hammer=True, fused_from=16, group=2)
    built: dict[str, Any] = {"final_tanh": True, "fused_scale": "auto", "fused_scale_res": 16}
    built |= {"resolution": 16, "noise_type": "spatial", "filter_kernel": (1, 2, 1)}
    content: dict[str, Any] = {
        "models": {"generator_smooth": files.g, "discriminator": files.d},
        "model_kwargs_init": {"generator_smooth": built, "discriminator": {"mbstd_groups": 2}},
    }
    found = read(genforce.STYLEGAN, content)
    g, d = double(files.g), double(files.d)
    check_generator(
        found.generator,
        synthesis=lambda w: files.synthesis(g, w).tanh(),
        mapping=lambda z: files.mapping(g, z),
    )
    check_discriminator(found.discriminator, lambda x: files.judge(d, x))
    for name, value in (("mapping_lr_mul", 1.0), ("final_tanh", "yes"), ("fused_scale", 3)):
        content["model_kwargs_init"]["generator_smooth"] = {**built, name: value}
        refused(genforce.STYLEGAN, content, name, "generator_smooth")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"lod": 3.5}, "growing (level of detail 3.5)"),
        ({"settings": {"label_size": 4}}, "labels"),
        ({"settings": {"use_pixel_norm": True}}, "use_pixel_norm=True, expected False"),
        ({"settings": {"blur_filter": [1, 3, 3, 1]}}, "blur_filter"),
        ({"settings": {"mapping_lrmul": 1.0}}, "mapping_lrmul=1.0, expected 0.01"),
        ({"settings": {"fused_scale": "sometimes"}}, "fused_scale"),
    ],
)
def test_what_the_native_network_does_not_compute(choices, words):
    refused(tf_stylegan.FAMILY, TFStyleGAN(**choices).content(), words)


def test_other_filters_growing_and_labels_are_refused():
    for files, family in (
        (Genforce(), genforce.STYLEGAN),
        (Idinvert(), idinvert.PYTORCH),
    ):
        blur = "synthesis.layer2.blur.kernel"
        for key, value, words in (
            (blur, torch.ones_like(files.g[blur]) / 9, f"{blur} has other values"),
            ("synthesis.lod", torch.tensor(2.5), "growing (level of detail 2.5)"),
            ("mapping.label_weight", torch.zeros(3, 6), "labels"),
        ):
            refused(family, files.g | {key: value}, words)
    fused = Idinvert(fused_from=8).g
    fused["synthesis.layer4.conv.weight"] = fused.pop("synthesis.layer4.weight").permute(3, 2, 0, 1)
    refused(idinvert.PYTORCH, fused, "fuses its layer of 8 px and not that of 16 px")


def test_all_that_does_not_fit_is_in_one_message():
    files = TFStyleGAN()
    g = files.g | {
        "G_synthesis/surprise": np.zeros(2, np.float32),
        "G_synthesis/16x16/Conv1/Noise/weight": np.zeros(2, np.float32),
    }
    del g["G_synthesis/8x8/Conv1/weight"]
    refused(
        tf_stylegan.FAMILY,
        _tensorflow(files, g, files.d),
        "network Gs",
        "missing: G_synthesis/8x8/Conv1/weight",
        "extra: G_synthesis/surprise",
        "G_synthesis/16x16/Conv1/Noise/weight (2,) instead of (3,)",
    )
