"""Networks that are known and not read: they are refused by name, with the reason."""

from typing import Any

from idinvert.checkpoints.families import tf_stylegan
from idinvert.checkpoints.families.family import unwrapped
from idinvert.checkpoints.formats.archive import Archive, Stored
from idinvert.checkpoints.strict_loading import text_keys
from idinvert.errors import CheckpointError

_PGGAN = "PGGAN (Progressive GAN), which has no style codes to invert into"
_BACKBONE = "backbone.synthesis"  # EG3D's StyleGAN2, which makes planes of features
_READ = "expected a StyleGAN or StyleGAN2 generator"


def refuse_known(archive: Archive, *, key: str) -> None:
    """Refuses what is no StyleGAN, where its tensors tell what it is.

    Raises:
        CheckpointError: It names the network, and why it is not read.
    """
    for found, name in ((_is_pggan, _PGGAN), (_is_eg3d, "EG3D, whose images are of a 3D scene")):
        if found(archive.content):
            raise CheckpointError(f"{archive.path}: is {name}; {_READ}; change {key}")


def _is_pggan(content: Any) -> bool:
    """NVlabs' for TensorFlow, or genforce's, whose D is StyleGAN's without filters."""
    for network in tf_stylegan.networks(content):
        if "4x4/Dense/weight" in tf_stylegan.variables(network):
            return True
    top = text_keys(content)
    held = text_keys(top.get("models")) or top
    names = ("generator_smooth", "generator", "discriminator")
    states = [unwrapped(held.get(name), bool) or {} for name in names]
    return any(_is_genforce_pggan(state) for state in (*states, unwrapped(held, bool) or {}))


def _is_genforce_pggan(state: dict[str, Any]) -> bool:
    for part in (".weight", ".conv.weight"):
        if {"lod", f"layer0{part}", f"output0{part}"} <= state.keys():
            return True
    judge = {"lod", "input1.weight", "layer1.weight"} <= state.keys()
    return judge and not any("blur" in name or "filter" in name for name in state)


def _is_eg3d(content: Any) -> bool:
    held = [content, *(text_keys(content).get(name) for name in ("G_ema", "G"))]
    parts = [text_keys(found.state) for found in held if isinstance(found, Stored)]
    if any("backbone" in text_keys(part.get("_modules")) for part in parts):
        return True
    return any(f"{_BACKBONE}.b4.const" in (unwrapped(found, bool) or {}) for found in held)
