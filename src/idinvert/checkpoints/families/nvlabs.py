"""NVlabs' PyTorch pickles that hold StyleGAN2: stylegan2-ada-pytorch and stylegan3.

Layers in half precision run in single precision here; the bound on the layers' outputs that goes
with it (``conv_clamp``) is kept. Constructor arguments are read from the modules' attributes,
because the defaults differ between the repositories; their source text is not read. The values of
all tensors are the native ones.

The plain ``.pt`` of state dicts that `idinvert.checkpoints.convert.to_nvlabs` makes is read too.

Source: stylegan2-ada-pytorch (training/networks.py), stylegan3 (training/networks_stylegan2.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from idinvert.checkpoints.families import family, stylegan2
from idinvert.checkpoints.formats.archive import Archive, Stored, flat_tensors
from idinvert.checkpoints.strict_loading import Constant, Source, Table, affine, text_keys
from idinvert.errors import CheckpointError
from idinvert.networks.stylegan2 import CONNECTIONS, StyleGAN2Generator
from idinvert.networks.stylegan2_discriminator import StyleGAN2Discriminator

NETWORKS = ("G_ema", "G", "D")
W_AVG = "mapping.w_avg"
_MARKS = {"synthesis.b4.const", "b4.conv.weight", "synthesis.input.weight"}
_LINEAR = ("affine", "embed", "out", "skip", "torgb")  # layers without an activation


def generator_layout(layer: stylegan2.Layer) -> Table:
    """Returns the location of the tensors of a layer of G."""
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


def discriminator_layout(layer: stylegan2.Layer) -> Table:
    """Returns the location of the tensors of a layer of D."""
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


def _modulated(name: str) -> Table:
    style = {f"affine.{part}": source for part, source in affine(f"{name}.affine").items()}
    return affine(name) | style


def _filter(name: str) -> Constant:
    return Constant(f"{name}.resample_filter", stylegan2.smooth_filter())


def recognise(archive: Archive) -> bool:
    """Returns whether the file is one or several of NVlabs' networks, including StyleGAN3."""
    return any(_is_ours(network) for network in _members(archive.content).values())


def _members(content: Any) -> dict[str, Any]:
    """Returns networks by name; a single generator is ``G``, as in PTI's files of one image."""
    alone = content if isinstance(content, Stored) else family.unwrapped(content, _is_ours)
    if alone is not None:
        generator = _is_generator(alone)
        return {"G" if generator else "D": alone} if generator or _is_ours(alone) else {}
    held = text_keys(content)
    return {
        name: family.unwrapped(held[name], bool) if isinstance(held[name], dict) else held[name]
        for name in NETWORKS
        if held.get(name) is not None
    }


def _generator(part: family.Part) -> tuple[StyleGAN2Generator, Tensor | None, dict[str, Any]]:
    """Reads G and its mean code if present; the facts say whether it ran in half precision."""
    state = part.state
    if any(name.startswith("synthesis.input.") for name in state.names()):
        state.fail(
            "is a StyleGAN3 generator, whose alias-free layers no network here has; expected "
            "StyleGAN2, such as stylegan3's own train.py --cfg stylegan2 makes"
        )
    built = _built(part, block="synthesis.b8", conv="synthesis.b4.conv1")
    tracked = built.get("w_avg_beta", 0.995) is not None
    generator = stylegan2.read_generator(
        state,
        generator_layout,
        w_avg=W_AVG if tracked else None,
        optional=stylegan2.NOISE,
        connections=built.get("architecture"),
        **stylegan2.stylegan2_settings(part, built, lr_mul="lr_multiplier"),
    )
    facts = {"half_precision": built["half_precision"]}
    return generator, generator.w_avg[0].clone() if tracked else None, facts


def _discriminator(part: family.Part) -> StyleGAN2Discriminator:
    built = _built(part, block="b8", conv="b4.conv")
    clamp = {"conv_clamp": part.setting("conv_clamp", built, None)}
    return stylegan2.read_discriminator(
        part.state,
        discriminator_layout,
        connections=built.get("architecture"),
        mbstd_group=family.group_setting(part.state, built, "mbstd_group_size"),
        conv_clamp=family.positive_setting(part.state, clamp, "conv_clamp", None),
        cmap_lr_mul=family.positive_setting(part.state, built, "lr_multiplier", 0.01),
    )


def _built(part: family.Part, *, block: str, conv: str) -> dict[str, Any]:
    """Returns the constructor arguments of a network: attributes of a pickled module, or keywords.

    Beside plain state dicts, arguments are stored under ``init_kwargs``, nested as in NVlabs' code.

    Args:
        part: The network.
        block: A block that stores the architecture.
        conv: A layer that stores the bound on the outputs.

    Returns:
        ``architecture``, ``conv_clamp``, ``lr_multiplier``, ``mbstd_group_size`` and
        ``w_avg_beta``, as far as the file contains them; and ``half_precision``.

    Raises:
        CheckpointError: The architecture is not supported by the native network, or a layer has
            another activation than in StyleGAN2.
    """
    if isinstance(part.stored, Stored):
        layers = dict(_layers(part.stored))
        attributes = {
            "architecture": (block, "architecture"),
            "conv_clamp": (conv, "conv_clamp"),
            "lr_multiplier": ("mapping.fc0", "bias_gain"),
            "mbstd_group_size": ("b4.mbstd", "group_size"),
            "w_avg_beta": ("mapping", "w_avg_beta"),
        }
        built = {
            name: layers[path][attribute]
            for name, (path, attribute) in attributes.items()
            if attribute in layers.get(path, {})
        }
        built["half_precision"] = any(own.get("use_fp16") is True for own in layers.values())
        for path, own in layers.items():
            expected = "linear" if path.rpartition(".")[2] in _LINEAR else "lrelu"
            found = own.get("activation")
            if found is not None and str(found) != expected:
                part.state.fail(f"{path} has activation {found!r:.60}, expected {expected!r}")
    else:
        built = _arguments(text_keys(text_keys(part.content).get("init_kwargs")).get(part.name))
        built["half_precision"] = bool(built.get("num_fp16_res"))
    found = built.get("architecture")
    if found is not None and (not isinstance(found, str) or found not in CONNECTIONS):
        part.state.fail(f"has architecture {found!r:.60}, expected one of {list(CONNECTIONS)}")
    return built


def _arguments(settings: Any) -> dict[str, Any]:
    """Flattens keyword arguments nested one level deep; outer ones take precedence."""
    outer = text_keys(settings)
    inner = [text_keys(value) for value in outer.values()]
    return {name: value for group in [*reversed(inner), outer] for name, value in group.items()}


def _layers(stored: Stored, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every module inside by dotted name, with its attributes."""
    if isinstance(stored.state, dict):
        yield prefix, stored.state
        for name, child in text_keys(stored.state.get("_modules")).items():
            if isinstance(child, Stored):
                yield from _layers(child, f"{prefix}.{name}" if prefix else name)


def _is_generator(found: Any) -> bool:
    if isinstance(found, Stored):
        modules = found.state.get("_modules") if isinstance(found.state, dict) else None
        return isinstance(modules, dict) and "synthesis" in modules
    return any(name.startswith("synthesis.") for name in found)


def _is_ours(found: Any) -> bool:
    """Returns whether an object is a network of NVlabs."""
    if isinstance(found, Stored):
        modules = found.state.get("_modules") if isinstance(found.state, dict) else None
        return isinstance(modules, dict) and bool({"synthesis", "b4"} & set(modules))
    return isinstance(found, dict) and (not _MARKS.isdisjoint(found))


def _tensors(found: Any) -> Mapping[str, Any]:
    """Returns the state dict of a stored module, or a plain one."""
    if isinstance(found, Stored):
        return flat_tensors(found)
    if not isinstance(found, dict):
        raise CheckpointError(
            f"is a {type(found).__name__}, expected a stored module or a state dict"
        )
    return found


FAMILY = family.Family(
    "nvlabs",
    recognise,
    family.pair_reader(
        "NVlabs",
        NETWORKS,
        members=_members,
        generator=_generator,
        discriminator=_discriminator,
        tensors=_tensors,
    ),
    f"{family.NVIDIA} (NVlabs/stylegan2-ada-pytorch, NVlabs/stylegan3)",
    settings=("conv_clamp", "mapping_lr_mul"),
)
