"""NVlabs' PyTorch pickles that hold StyleGAN2: stylegan2-ada-pytorch and stylegan3.

Their layers in half precision run in single precision here; the bound on the layers' outputs that
goes with them (``conv_clamp``) is kept. What the modules were built with is read off their
attributes, for the defaults differ between the repositories; their source text is not read.
The values of all tensors are the native ones.

The plain ``.pt`` of state dicts that `idinvert.checkpoints.export.to_nvlabs` writes is read too.

Source: stylegan2-ada-pytorch (training/networks.py), stylegan3 (training/networks_stylegan2.py).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families.family import (
    NVIDIA,
    Family,
    Part,
    pair_reader,
    positive_setting,
)
from idinvert.checkpoints.families.stylegan2 import (
    NOISE,
    Layer,
    read_discriminator,
    read_generator,
    smooth_filter,
)
from idinvert.checkpoints.formats.archive import Archive, Stored, flat_tensors
from idinvert.checkpoints.strict_loading import (
    Constant,
    Source,
    Table,
    affine,
)
from idinvert.errors import CheckpointError
from idinvert.networks.stylegan2 import CONNECTIONS, StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NETWORKS = ("G_ema", "G", "D")
W_AVG = "mapping.w_avg"
_LINEAR = ("affine", "embed", "out", "skip", "torgb")  # layers without an activation


def generator_layout(layer: Layer) -> Table:
    """Where the tensors of a layer of G are stored."""
    block = f"synthesis.b{layer.side}"
    match layer.kind:
        case "dense":
            return affine(f"mapping.fc{layer.index}")
        case "embed":
            return affine("mapping.embed")
        case "const":
            return {"": Source("synthesis.b4.const")}
        case "conv":
            name = f"{block}.conv{1 - layer.index % 2}"
            own = {"block_filter": _filter(block)} if layer.index % 2 == 0 else {}
            return {
                **_modulated(name),
                "noise_strength": Source(f"{name}.noise_strength"),
                "noise": Source(f"{name}.noise_const", lambda t: t[None, None], lambda t: t[0, 0]),
                "filter": _filter(name),
                **own,
            }
        case "rgb":
            return _modulated(f"{block}.torgb")
    return {"weight": Source(f"{block}.skip.weight"), "filter": _filter(f"{block}.skip")}


def discriminator_layout(layer: Layer) -> Table:
    """Where the tensors of a layer of D are stored."""
    block = f"b{layer.side}"
    match layer.kind:
        case "dense":
            return affine(f"mapping.fc{layer.index}")
        case "embed":
            return affine("mapping.embed")
        case "fc" | "out":
            return affine(f"b4.{layer.kind}")
        case "from_rgb":
            return affine(f"{block}.fromrgb") | {"filter": _filter(f"{block}.fromrgb")}
        case "shortcut":
            return {"weight": Source(f"{block}.skip.weight"), "filter": _filter(f"{block}.skip")}
    name = f"{block}.{layer.kind}"
    own = {"block_filter": _filter(block)} if layer.kind == "conv0" else {}
    return {**affine(name), "filter": _filter(name), **own}


def _modulated(name: str) -> dict[str, Source | Constant]:
    style = {f"affine.{part}": source for part, source in affine(f"{name}.affine").items()}
    return affine(name) | style


def _filter(name: str) -> Constant:
    return Constant(f"{name}.resample_filter", smooth_filter())


def recognise(archive: Archive) -> bool:
    """Whether the file is a dict of NVlabs' networks, StyleGAN3's included."""
    content = archive.content
    return isinstance(content, dict) and any(_is_ours(content.get(name)) for name in NETWORKS)


def _members(content: Any) -> dict[str, Any]:
    return {name: content[name] for name in NETWORKS if content.get(name) is not None}


def _generator(part: Part) -> tuple[StyleGAN2Generator, Tensor | None, dict[str, Any]]:
    """G, its mean code where the file holds one, and whether it ran in half precision."""
    state, module = part.state, _Module(part)
    if any(name.startswith("synthesis.input.") for name in state.names()):
        state.fail("is a StyleGAN3 generator, expected StyleGAN2")
    module.check_activations()
    tracked = module.attribute("mapping", "w_avg_beta", 0.995) is not None
    generator = read_generator(
        state,
        generator_layout,
        w_avg=W_AVG if tracked else None,
        optional=NOISE,
        connections=module.connections("synthesis.b8"),
        conv_clamp=module.clamp("synthesis.b4.conv1"),
        mapping_lr_mul=module.lr_multiplier(),
    )
    facts = {"half_precision": module.half_precision()}
    return generator, generator.w_avg[0].clone() if tracked else None, facts


def _discriminator(part: Part) -> StyleGAN2Discriminator:
    module = _Module(part)
    module.check_activations()
    return read_discriminator(
        part.state,
        discriminator_layout,
        connections=module.connections("b8"),
        mbstd_group=module.group(),
        conv_clamp=module.clamp("b4.conv"),
        cmap_lr_mul=module.lr_multiplier(),
    )


class _Module:
    """What a network was built with: attributes of the pickled module, or keyword arguments.

    Arguments stand beside plain state dicts under ``init_kwargs``, nested as NVlabs nest them.
    """

    def __init__(self, part: Part) -> None:
        self._state = part.state
        self._stored = part.stored if isinstance(part.stored, Stored) else None
        given = part.content.get("init_kwargs")
        found = given.get(part.name) if isinstance(given, dict) else None
        self._settings = found if isinstance(found, dict) and self._stored is None else {}

    def attribute(self, path: str, name: str, default: Any) -> Any:
        """An attribute of the layer at a dotted path, or the default where the file has none."""
        layer: Any = self._stored
        for part in path.split("."):
            modules = layer.state.get("_modules") if _has_state(layer) else None
            layer = modules.get(part) if isinstance(modules, dict) else None
        return layer.state.get(name, default) if _has_state(layer) else default

    def lr_multiplier(self) -> float:
        """The learning-rate multiplier of the mapping network, which scales its weights."""
        found = self.attribute("mapping.fc0", "bias_gain", self._argument("lr_multiplier", 0.01))
        return self._positive(found, "lr_multiplier", needed=True)

    def clamp(self, path: str) -> float | None:
        """The bound on the outputs, as the layer or the arguments have it."""
        found = self.attribute(path, "conv_clamp", self._argument("conv_clamp", None))
        return self._positive(found, "conv_clamp")

    def group(self) -> int | None:
        """Images in a group of the minibatch deviation; None for the whole batch."""
        found = self.attribute("b4.mbstd", "group_size", self._argument("mbstd_group_size", 4))
        size = self._positive(found, "mbstd_group_size")
        if size is not None and int(size) != size:
            self._state.fail(f"mbstd_group_size is {found!r:.60}, expected a whole number")
        return None if size is None else int(size)

    def connections(self, path: str) -> str | None:
        """The architecture that a block or the arguments have; None where neither says."""
        found = self.attribute(path, "architecture", self._argument("architecture", None))
        if found is not None and (not isinstance(found, str) or found not in CONNECTIONS):
            self._state.fail(f"has architecture {found!r:.60}, expected one of {list(CONNECTIONS)}")
        return found

    def half_precision(self) -> bool:
        """Whether some of its layers ran in half precision where it was trained."""
        if self._stored is None:
            return bool(self._argument("num_fp16_res", 0))
        return any(state.get("use_fp16") is True for _, state in _layers(self._stored))

    def check_activations(self) -> None:
        """Refuses a network with other activations than StyleGAN2's."""
        for path, state in _layers(self._stored):
            found = state.get("activation")
            expected = "linear" if path.rpartition(".")[2] in _LINEAR else "lrelu"
            if found is not None and str(found) != expected:
                self._state.fail(f"{path} has activation {found!r:.60}, expected {expected!r}")

    def _argument(self, name: str, default: Any) -> Any:
        """An argument by keyword, at whatever depth of the nested ones."""
        groups = [self._settings, *self._settings.values()]
        for group in groups:
            if isinstance(group, Mapping) and name in group:
                return group[name]
        return default

    def _positive(self, found: Any, name: str, *, needed: bool = False) -> Any:
        if found is None and needed:
            self._state.fail(f"{name} is None, expected a number above 0")
        return positive_setting(self._state, {name: found}, name, None)


def _is_ours(found: Any) -> bool:
    """Whether something of a file is a network of NVlabs'."""
    if isinstance(found, Stored):
        modules = found.state.get("_modules") if isinstance(found.state, dict) else None
        return isinstance(modules, dict) and bool({"synthesis", "b4"} & set(modules))
    return isinstance(found, dict) and ("synthesis.b4.const" in found or "b4.conv.weight" in found)


def _tensors(found: Any) -> Mapping[str, Any]:
    """The state dict of a stored module, or a plain one."""
    if isinstance(found, Stored):
        return flat_tensors(found)
    if not isinstance(found, dict):
        raise CheckpointError(
            f"is a {type(found).__name__}, expected a stored module or a state dict"
        )
    return found


FAMILY = Family(
    "nvlabs",
    recognise,
    pair_reader(
        "NVlabs",
        NETWORKS,
        members=_members,
        generator=_generator,
        discriminator=_discriminator,
        tensors=_tensors,
    ),
    f"{NVIDIA} (NVlabs/stylegan2-ada-pytorch, NVlabs/stylegan3)",
)


def _has_state(found: Any) -> bool:
    return isinstance(found, Stored) and isinstance(found.state, dict)


def _layers(stored: Stored | None, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every module inside, by dotted name, with its attributes."""
    if stored is None or not _has_state(stored):
        return []
    found = [(prefix, stored.state)]
    modules = stored.state.get("_modules")
    for name, child in (modules if isinstance(modules, dict) else {}).items():
        if isinstance(child, Stored):
            found += _layers(child, f"{prefix}.{name}" if prefix else str(name))
    return found
