"""Checks that every family's reader must pass."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idinvert.checkpoints.formats.archive import Archive
from idinvert.errors import CheckpointError

from .reference import normal

KEY = "generator.path"
Tensors = dict[str, Any]


def archive(content: Any, *, kind: str = "torch_zip") -> Archive:
    """What a file with this content reads as."""
    return Archive(kind=kind, path=Path("some.file"), content=content)  # type: ignore[arg-type]


def whole(checkpoint: Any) -> Any:
    """The checkpoint, every network of which could be read; else the first reason is raised."""
    for reason in checkpoint.failed.values():
        raise CheckpointError(reason)
    return checkpoint


def same(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-6 of the output's scale, computed in float64."""
    assert found.dtype == expected.dtype == torch.float64
    scale = max(expected.abs().max().item(), 1.0)
    assert (found - expected).abs().max().item() <= 1e-6 * scale


def about_same(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-4 of the image's scale in float32."""
    scale = max(expected.abs().max().item(), 1.0)
    assert (found.double() - expected).abs().max().item() <= 1e-4 * scale


def check_generator(
    native: Any, *, synthesis: Callable[[Tensor], Tensor], mapping: Callable[..., Tensor]
) -> None:
    """Images from w of every layer, and w from z, in both precisions.

    Args:
        native: What was read.
        synthesis: The original: w [N, L, w_dim] to images.
        mapping: The original: z (and labels c) to [N, w_dim] or [N, L, w_dim].
    """
    check_settled(native)
    w = normal(3, native.num_layers, native.w_dim, seed=1).double()
    z = normal(3, native.z_dim, seed=2).double()
    c = (normal(3, native.c_dim, seed=3).double(),) if getattr(native, "c_dim", 0) else ()
    expected, codes = synthesis(w), mapping(z, *c)
    assert expected.std() > 1e-2 and codes.std() > 1e-3
    about_same(native.synthesis(w.float()), expected)
    about_same(native.mapping(z.float(), *(label.float() for label in c)), wide(codes, native))
    double = rebuilt(native)
    same(double.synthesis(w), expected)
    same(double.mapping(z, *c), wide(codes, native))
    same(double(z, *c), synthesis(wide(codes, native)))


def wide(codes: Tensor, native: Any) -> Tensor:
    """Codes for every layer."""
    return codes if codes.ndim == 3 else codes[:, None].expand(-1, native.num_layers, -1)


def check_discriminator(native: Any, judge: Callable[..., Tensor], *, batch: int = 4) -> None:
    """Logits, in both precisions."""
    check_settled(native)
    x = normal(batch, 3, native.resolution, native.resolution, seed=4).double()
    c = (normal(batch, native.c_dim, seed=5).double(),) if getattr(native, "c_dim", 0) else ()
    expected = judge(x, *c)
    assert expected.shape == (batch,) and expected.std() > 1e-3
    about_same(native(x.float(), *(label.float() for label in c)), expected)
    same(rebuilt(native)(x, *c), expected)


def rebuilt(native: Any) -> Any:
    """A copy in float64."""
    copy = type(native)(**native.architecture).double()
    copy.load_state_dict(native.state_dict())
    return copy.eval()


def check_settled(network: nn.Module) -> None:
    """eval(), no gradients, float32, on the CPU."""
    assert not network.training
    for tensor in network.state_dict().values():
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu"
    assert not any(parameter.requires_grad for parameter in network.parameters())


def check_every_tensor_counts(
    tensors: Tensors,
    outputs: Callable[[Tensors], tuple[Tensor, Tensor]],
    *,
    fixed: Iterable[str] = (),
) -> None:
    """Each tensor, moved alone, moves native and original output alike.

    Args:
        tensors: A network's tensors in the file.
        outputs: Such tensors to (native output, original's output).
        fixed: Tensors with one right value, or without influence on this output.
    """
    fixed = set(fixed)
    base, expected = outputs(tensors)
    same(base, expected)
    for index, (name, value) in enumerate(tensors.items()):
        if name in fixed:
            continue
        shape = np.shape(value)
        moved = value + normal(*shape, seed=index + 77).numpy().astype(np.float32)
        moved = torch.as_tensor(moved) if isinstance(value, Tensor) else np.asarray(moved)
        native, original = outputs(tensors | {name: moved})
        same(native, original)
        assert (original - expected).abs().max() > 1e-9, f"{name} does not count"


def check_every_key_is_named(
    tensors: Tensors,
    read: Callable[[Tensors], Any],
    *,
    unused: tuple[str, ...] = (),
    mark: str = "",
) -> None:
    """A missing, an extra, a misshapen and a mistyped tensor are reported by name, with the key.

    Args:
        tensors: A network's tensors in the file.
        read: Reads such tensors.
        unused: Beginnings of names without influence.
        mark: Without this tensor the file is of no family.
    """
    read(tensors)
    used = {name: value for name, value in tensors.items() if not name.startswith(unused)}
    for name, value in used.items():
        without = {k: v for k, v in tensors.items() if k != name}
        if name != mark:
            _refused(lambda t=without: read(t), [name], "missing")
        _refused(lambda t=tensors | {name: value[None]}: read(t), [name], "")
    names = list(used)
    for first in range(0, len(names), 50):  # a message names up to 60
        group = names[first : first + 50]
        mistyped = {name: _whole_numbers(used[name]) for name in group}
        _refused(lambda t=tensors | mistyped: read(t), group, "int64")
    surplus = tensors | {"sur.plus": next(iter(tensors.values()))}
    _refused(lambda: read(surplus), ["sur.plus"], "extra")
    biases = [name for name in used if "bias" in name or "beta" in name]
    two = [biases[0], biases[-1]]
    without = {k: v for k, v in tensors.items() if k not in two}
    _refused(lambda: read(without), two, "missing")


def _whole_numbers(value: Any) -> Any:
    whole = np.asarray(value).astype(np.int64)
    return torch.as_tensor(whole) if isinstance(value, Tensor) else whole


def _refused(read: Callable[[], Any], names: list[str], word: str) -> None:
    """All of the names are in one message, with what is wrong, the file and the key."""
    with pytest.raises(CheckpointError) as caught:
        read()
    message = str(caught.value)
    for expected in (*names, word, KEY, "some.file"):
        assert expected in message, message
