"""The authors' releases: PyTorch (``.pth``) and TensorFlow (``.pkl``) files of multi-w StyleGAN.

Each PyTorch file is one state dict, of G or of E. A TensorFlow file is (G, D, Gs) or (E, G, D, Gs).
The encoders are in `idinvert_encoders`.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from idinvert.checkpoints.checkpoint import Checkpoint
from idinvert.checkpoints.families import stylegan, tf_stylegan
from idinvert.checkpoints.families.family import Family, unwrapped
from idinvert.checkpoints.families.idinvert_encoders import (
    read_encoder_a,
    read_encoder_b,
    read_encoder_c,
)
from idinvert.checkpoints.families.stylegan2 import Layer
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.checkpoints.strict_loading import (
    Source,
    StrictStateDict,
    Table,
    permuted,
    unsqueezed,
)
from idinvert.errors import CheckpointError
from idinvert.networks.stylegan import FUSED_FROM, StyleGANGenerator

_GENERATOR = "synthesis.layer0.epilogue.style_mod.dense.fc.weight"
_ENCODER = "block1.conv1.weight"
_TF_ENCODERS = {"A": "encoder/input_image_stage/weight", "C": "FromImg/weight"}


def recognise_pytorch(archive: Archive) -> bool:
    """Returns whether the file is a generator or encoder of the PyTorch release."""
    return bool(_content(archive))


def read_pytorch(archive: Archive, *, key: str, network: str | None = None) -> Checkpoint:
    """Reads G or E; ``network`` has no effect, because a file has one generator, the averaged one.

    Raises:
        CheckpointError: Tensors do not match; the message names all of them.
    """
    content = _content(archive)
    role = "generator" if _GENERATOR in content else "encoder"
    what = f"{archive.path} ({PYTORCH.name}), {role}"
    state = StrictStateDict(content, what=what, key=key)
    if role == "encoder":
        return Checkpoint(
            encoder=read_encoder_b(state), meta={"networks": ["encoder"], "encoder": "B"}
        )
    tanh = archive.given.get("final_tanh", True)
    generator, w_avg = _read_generator(state, final_tanh=tanh)
    meta: dict[str, Any] = {"network": "generator", "networks": ["generator"]}
    meta |= {} if "final_tanh" in archive.given else {"assumed": {"final_tanh": tanh}}
    return Checkpoint(generator=generator, latent_avg=w_avg, meta=meta)


def _content(archive: Archive) -> dict[str, Any]:
    return unwrapped(archive.content, lambda s: _GENERATOR in s or _ENCODER in s) or {}


def recognise_tensorflow(archive: Archive) -> bool:
    """Returns whether it is one of the authors' tuples, or their encoder alone."""
    found = tf_stylegan.networks(archive.content)
    if found and _encoder_variant(found[0]) is not None:
        return len(found) in (1, 4)
    held = tf_stylegan.members(archive.content).values()
    return any(tf_stylegan.is_generator(g) and tf_stylegan.is_multi_w(g) for g in held)


def read_tensorflow(archive: Archive, *, key: str, network: str | None = None) -> Checkpoint:
    """Reads G, D and E if present; ``network`` is ``"Gs"`` (default) or ``"G"``.

    Returns:
        The networks; ``meta["encoder"]`` is ``"A"`` (April 2020) or ``"C"`` (September 2020).

    Raises:
        CheckpointError: Variables do not match; the message names all of them. See `tf_stylegan`.
    """
    found = tf_stylegan.networks(archive.content)
    variant = _encoder_variant(found[0])
    read = tf_stylegan.reader(TENSORFLOW.name)
    if variant is None:
        return read(archive, key=key, network=network)
    what = f"{archive.path} ({TENSORFLOW.name}), network E"
    state = StrictStateDict(tf_stylegan.variables(found[0]), what=what, key=key)
    encoder, failed = None, {}
    try:
        encoder = (read_encoder_a if variant == "A" else read_encoder_c)(state)
    except CheckpointError as error:
        failed["encoder"] = str(error)
    rest = read(replace(archive, content=found[1:]), key=key, network=network)
    names = ["E", *rest.meta["networks"]]
    meta = rest.meta | {"networks": names, "encoder": variant}
    return replace(rest, encoder=encoder, meta=meta, failed=rest.failed | failed)


PYTORCH = Family(
    "idinvert-pytorch",
    recognise_pytorch,
    read_pytorch,
    "MIT (genforce/idinvert_pytorch)",
    objective="domain_guided",
    settings=("final_tanh",),
)
TENSORFLOW = Family(
    "tf-idinvert",
    recognise_tensorflow,
    read_tensorflow,
    "MIT (genforce/idinvert)",
    objective="domain_guided",
)


def _read_generator(
    state: StrictStateDict, *, final_tanh: bool
) -> tuple[StyleGANGenerator, Tensor | None]:
    """Reads the PyTorch generator; see `stylegan.read_generator`.

    A fused layer keeps TensorFlow's order [k, k, in, out] under another name, so the file says from
    which resolution on layers are fused. It does not say whether tanh bounds the images; in the
    authors' settings it does.
    """
    if "mapping.label_weight" in state:
        stylegan.refuse_labels(state)

    def layout(layer: Layer) -> Table:
        if layer.kind == "dense":
            return _scaled(f"mapping.dense{layer.index}")
        if layer.kind == "rgb":
            name = f"synthesis.output{layer.index}"
            return {"weight": Source(f"{name}.conv.weight"), "bias": Source(f"{name}.bias")}
        return _layer(state, layer.index)

    num_layers = state.extent("synthesis.layer")
    state.drop(["truncation.truncation"])  # ψ of the authors' settings, which override it
    return stylegan.read_generator(
        state,
        layout,
        num_layers=num_layers,
        depth=state.extent("mapping.dense"),
        w_avg="truncation.w_avg",
        lod="synthesis.lod",
        final_tanh=final_tanh,
        fused_from=_fused_from(state, num_layers),
    )


def _scaled(name: str) -> dict[str, Any]:
    """Returns the location of a dense layer."""
    return {"weight": Source(f"{name}.fc.weight"), "bias": Source(f"{name}.wscale.bias")}


def _layer(state: StrictStateDict, i: int) -> Table:
    """Returns the location of the tensors of layer i of the synthesis."""
    name = f"synthesis.layer{i}"
    found: dict[str, Any] = {
        "weight": Source(f"{name}.conv.weight"),
        "bias": Source(f"{name}.epilogue.bias"),
        "noise": Source(f"{name}.epilogue.apply_noise.noise"),
        "noise_weight": Source(f"{name}.epilogue.apply_noise.weight"),
    }
    for part, source in _scaled(f"{name}.epilogue.style_mod.dense").items():
        found[f"affine.{part}"] = source
    if i == 0:
        found["weight"] = unsqueezed(f"{name}.const", before=1)
    elif f"{name}.weight" in state:
        found["weight"] = permuted(f"{name}.weight", 3, 2, 0, 1)
    if i > 0 and i % 2 == 0:
        width = state.shape(f"{name}.epilogue.bias", ndim=1)[0]
        found["filter"] = stylegan.blur(f"{name}.blur.kernel", channels=width)
    return found


def _fused_from(state: StrictStateDict, num_layers: int) -> int:
    """Returns the side from which upsampling layers are fused; 128 if no layer is that large.

    Raises:
        CheckpointError: A fused layer has a lower resolution than one that is not fused.
    """
    up = {
        stylegan.layer_side(i): f"synthesis.layer{i}.weight" in state
        for i in range(2, num_layers, 2)
    }
    fused = [side for side, yes in up.items() if yes]
    plain = [side for side, yes in up.items() if not yes]
    if fused and plain and fused[0] < plain[-1]:
        state.fail(f"fuses its layer of {fused[0]} px and not that of {plain[-1]} px")
    if all(yes == (side >= FUSED_FROM) for side, yes in up.items()):
        return FUSED_FROM
    return fused[0] if fused else stylegan.NEVER_FUSED


def _encoder_variant(network: Stored) -> str | None:
    """Returns ``"A"`` or ``"C"`` by the variables' names; None for other networks."""
    found = tf_stylegan.variables(network)
    return next((variant for variant, mark in _TF_ENCODERS.items() if mark in found), None)
