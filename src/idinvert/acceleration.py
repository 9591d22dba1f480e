"""Optional acceleration on a GPU: TF32, compiled networks, and steps replayed as CUDA graphs."""

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)

WARM_UP = 2
"""Eager calls of each kind before one is recorded, in which libraries choose their kernels."""


def use_tf32(allowed: bool) -> None:
    """Sets whether a GPU rounds the inputs of float32 convolutions and matrix products to TF32.

    Args:
        allowed: True is several times faster on Ampere and later, with 10 bits of mantissa;
            False computes in IEEE float32, as the CPU does.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def compile_networks(networks: Iterable[nn.Module]) -> None:
    """Compiles the forward pass of each network in place, once per input shape.

    Names and values of parameters do not change. A network that cannot be compiled runs eagerly,
    and torch logs the reason.

    Args:
        networks: E's backbone, F and G's synthesis. Never D: its gradient is differentiated (R1),
            which compiled code does not support.
    """
    torch._dynamo.config.suppress_errors = True
    for network in networks:
        network.compile(dynamic=False)


def accelerate_networks(
    system: Mapping[str, Any], generator: Any, encoder: Any, perceptual: Any
) -> None:
    """Sets activation checkpointing of G, and compiles the networks of a step, as in ``system``.

    Args:
        system: The settings; older runs do not have all of them.
        generator: G, whose synthesis keeps fewer activations and is compiled; or None.
        encoder: E, whose backbone is compiled; or None.
        perceptual: F, which is compiled; or None.
    """
    synthesis = getattr(generator, "synthesis", None)
    if synthesis is not None:
        synthesis.checkpoint_activations = bool(system.get("checkpoint_activations"))
    if system.get("compile"):
        parts = (getattr(encoder, "backbone", None), perceptual, synthesis)
        compile_networks(part for part in parts if part is not None)


@dataclass(frozen=True)
class _Recording:
    """A recorded graph with the memory it reads and the memory it writes."""

    graph: Any
    inputs: Sequence[Tensor]
    outputs: Any
    gradients: Sequence[Tensor | None]


class StepGraphs:
    """Replays work on a GPU as CUDA graphs: one launch instead of thousands.

    The first calls of a kind run eagerly and the next one is recorded. Later calls copy their
    inputs into the recording's memory and replay it: the same kernels on the same values. If a kind
    cannot be recorded, everything runs eagerly from then on, and the reason is logged once.

    The work may read its inputs and memory with a fixed address (parameters, buffers), may write
    such memory and the gradients of `parameters`, and must not wait for the device. Anything else
    that changes its control flow must be part of its key.

    Args:
        enabled: False runs everything eagerly.
    """

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled
        self._calls: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._stream: Any = None
        self._pool: Any = None

    def __call__(
        self,
        key: Hashable,
        work: Callable[..., Any],
        *inputs: Tensor,
        parameters: Sequence[nn.Parameter] = (),
    ) -> Any:
        """Runs the work, or replays it.

        Args:
            key: The kind of work; with the shapes and dtypes of the inputs it identifies the
                recording.
            work: Takes the inputs and returns tensors in dicts, lists and tuples.
            inputs: Tensors of any shapes, on one device.
            parameters: Parameters whose ``grad`` the work sets; it must be None before.

        Returns:
            The result of the work. The tensors of a replay are overwritten by the next replay of
            the same kind.
        """
        if not self.enabled or inputs[0].device.type != "cuda":
            return work(*inputs)
        kind = (key, tuple((tuple(each.shape), each.dtype) for each in inputs))
        if kind not in self._recordings:
            self._calls[kind] = self._calls.get(kind, 0) + 1
            if self._calls[kind] <= WARM_UP or not self._record(kind, work, inputs, parameters):
                return self._eagerly(work, inputs)
        return self._replay(self._recordings[kind], inputs, parameters)

    def _eagerly(self, work: Callable[..., Any], inputs: Sequence[Tensor]) -> Any:
        """Runs the work on the recording stream, which CUDA requires before a recording."""
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = work(*inputs)
        current.wait_stream(self._stream)
        return outputs

    def _record(
        self,
        kind: Hashable,
        work: Callable[..., Any],
        inputs: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
    ) -> bool:
        """Records the work without executing it; returns False if that is impossible."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        static = [each.detach().clone() for each in inputs]
        graph = torch.cuda.CUDAGraph()
        torch.clear_autocast_cache()  # casts of weights must be part of the recording
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                outputs = work(*static)
        except RuntimeError as error:
            self.enabled = False
            for parameter in parameters:
                parameter.grad = None
            reason = str(error).strip().splitlines()[0]
            _log.warning("cuda_graphs: off, %s cannot be recorded: %s", kind, reason)
            return False
        finally:
            torch.clear_autocast_cache()
        gradients = [parameter.grad for parameter in parameters]
        self._recordings[kind] = _Recording(graph, static, outputs, gradients)
        return True

    def _replay(
        self, recording: _Recording, inputs: Sequence[Tensor], parameters: Sequence[nn.Parameter]
    ) -> Any:
        for static, given in zip(recording.inputs, inputs, strict=True):
            static.copy_(given)
        recording.graph.replay()
        for parameter, gradient in zip(parameters, recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.outputs
