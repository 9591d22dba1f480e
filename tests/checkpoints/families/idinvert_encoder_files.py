"""The authors' encoders as they store them, small and random, and what they compute.

A (April 2020) and C (September 2020) are TensorFlow's, B (July 2020) is the PyTorch release's.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.checkpoints.formats.archive import Stored

from . import tf_files
from .layer_files import LayerFiles, Shapes
from .reference import lrelu, mean_of_four
from .stylegan_files import TFStyleGAN

BRANCH = ("first", "second")
STATISTICS = ("mean", "variance")


class IdinvertEncoder(LayerFiles):
    """An encoder of variant "A", "B" or "C".

    Its layers are ``stem``, ``shortcut``, ``first``, ``second`` and ``dense``, each a convolution
    or dense layer with its normalisation.
    """

    names_of: ClassVar[dict[str, dict[str, str]]] = {
        "A": {
            "stem": "encoder/input_image_stage",
            "shortcut": "encoder/encoder_res_block_{i}/shortcut",
            "first": "encoder/encoder_res_block_{i}/conv1",
            "second": "encoder/encoder_res_block_{i}/conv2",
            "dense": "encoder/encoder_fc",
        },
        "B": {
            "stem": "block0",
            "dense": "block{n}",
            "dense.weight": "block{n}.fc.weight",
            **dict.fromkeys(("shortcut", *BRANCH), "block{n}"),
        },
        "C": {
            "stem": "FromImg",
            "shortcut": "E_block_{i}/Shortcut",
            "first": "E_block_{i}/Conva",
            "second": "E_block_{i}/Convb",
            "dense": "Latent_out",
        },
    }
    parts_of: ClassVar[dict[str, dict[str, str]]] = {
        "A": {
            "weight": "/weight",
            "mean": "/{bn}/BatchNorm/moving_mean",
            "variance": "/{bn}/BatchNorm/moving_variance",
            "beta": "/{bn}/BatchNorm/beta",
        },
        "B": {
            "weight": ".conv{k}.weight",
            "bias": ".wscale{k}.bias",
            "mean": ".bn{k}.bn.running_mean",
            "variance": ".bn{k}.bn.running_var",
            "gamma": ".bn{k}.bn.weight",
            "beta": ".bn{k}.bn.bias",
            "count": ".bn{k}.bn.num_batches_tracked",
        },
        "C": {
            "weight": "/weight",
            "bias": "/bias",
            "mean": "/batch_norm/moving_mean",
            "variance": "/batch_norm/moving_variance",
            "gamma": "/batch_norm/gamma",
            "beta": "/batch_norm/beta",
        },
    }

    def __init__(
        self,
        variant: str,
        *,
        resolution: int = 16,
        channels: int = 3,
        channels_max: int = 6,
        w_dim: int = 5,
    ) -> None:
        self.variant, self.w_dim = variant, w_dim
        self.names, self.parts = self.names_of[variant], self.parts_of[variant]
        self.last = self.blocks = resolution.bit_length() - 3
        self.layers = 2 * self.blocks + 2
        self.widths = [min(channels << i, channels_max) for i in range(self.blocks + 1)]
        self.e = self.fill(self._encoder(), seed=5)

    def fields(self, kind: str, i: int) -> dict[str, Any]:
        bn = {"stem": "bn_input_stage", "shortcut": "shortcut_bn", "dense": "fc_1"}.get(kind)
        return {
            "k": {"first": 1, "second": 2}.get(kind, ""),
            "bn": bn or f"bn_{1 + BRANCH.index(kind)}",
        }

    def to_file(self, kind: str, tensor: str, value: Tensor) -> Any:
        if tensor == "variance":
            value = value.abs() + 0.5
        if tensor == "count":
            value = torch.tensor(9)
        if tensor == "gamma":  # B's was frozen
            value = torch.ones_like(value) if self.variant == "B" else 1 + 0.3 * value
        if self.variant == "B":
            return value
        if tensor == "weight":
            value = value.T if value.ndim == 2 else value.permute(2, 3, 1, 0)
        return value.numpy()

    def to_native(self, kind: str, tensor: str, value: Tensor) -> Tensor:
        if self.variant == "B" or tensor != "weight":
            return value
        return value.T if value.ndim == 2 else value.permute(3, 2, 0, 1)

    def scale(self, kind: str, tensor: str) -> float:
        return {"weight": 0.3 if kind != "dense" else 0.5, "variance": 1.0, "gamma": 1.0}.get(
            tensor, 0.5
        )

    def _encoder(self) -> Iterator[tuple[str, int, Shapes]]:
        stem = 5 if self.variant == "C" else 3
        yield "stem", 0, self._layer("stem", 3, self.widths[0], stem, stem)
        for i in range(self.blocks):
            before, after = self.widths[i : i + 2]
            if before != after:
                yield "shortcut", i, self._layer("shortcut", before, after, 1, 1)
            yield "first", i, self._layer("first", before, before, 3, 3)
            yield "second", i, self._layer("second", before, after, 3, 3)
        wide = self.layers * self.w_dim
        yield "dense", self.blocks, self._layer("dense", 16 * self.widths[-1], wide)

    def _layer(self, kind: str, into: int, out: int, *kernel: int) -> Shapes:
        biased = {"A": (), "B": BRANCH, "C": ("stem", *BRANCH, "dense")}[self.variant]
        norm = [name for name in ("mean", "variance", "gamma", "beta") if name in self.parts]
        shapes: Shapes = {"weight": (out, into, *kernel)}
        shapes |= {name: (out,) for name in (*(["bias"] if kind in biased else []), *norm)}
        return shapes | ({"count": ()} if "count" in self.parts else {})

    def encode(self, p: dict[str, Tensor], x: Tensor) -> Tensor:
        """E: images [N, 3, R, R] to codes [N, L, w_dim]."""

        def affine(kind: str, i: int, x: Tensor) -> Tensor:
            weight = self.get(p, kind, i)
            if weight.ndim == 2:
                scale = 1 / math.sqrt(weight.shape[1]) if self.variant == "B" else 1.0
                x = x.flatten(1) @ weight.T * scale
            else:
                x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
            name = self.name(kind, i, "bias") if "bias" in self.parts else ""
            return x + p[name].reshape(1, -1, *[1] * (x.ndim - 2)) if name in p else x

        def norm(kind: str, i: int, x: Tensor) -> Tensor:
            shape = (1, -1, *[1] * (x.ndim - 2))
            mean, variance = (self.get(p, kind, i, name).reshape(shape) for name in STATISTICS)
            x = (x - mean) / torch.sqrt(variance + 1e-5)
            if "gamma" in self.parts:
                x = x * self.get(p, kind, i, "gamma").reshape(shape)
            return x + self.get(p, kind, i, "beta").reshape(shape)

        def layer(kind: str, i: int, x: Tensor) -> Tensor:
            x = affine(kind, i, x)
            if self.variant != "C":
                return lrelu(norm(kind, i, x))
            return norm(kind, i, x if kind == "shortcut" else lrelu(x))

        x = layer("stem", 0, x)
        for i in range(self.blocks):
            x = mean_of_four(x)
            y = layer("shortcut", i, x) if self.widths[i] != self.widths[i + 1] else x
            x = layer("second", i, layer("first", i, x)) + y
        codes = norm("dense", self.blocks, affine("dense", self.blocks, x))
        return codes.reshape(len(x), self.layers, self.w_dim)

    def stored(self, variables: dict[str, Any] | None = None) -> Stored:
        """A TensorFlow network."""
        settings = {"size": 4 << self.blocks, "is_training": True, "num_gpus": 8}
        held = self.e if variables is None else variables
        return tf_files.network("E_gpu0", held, function="Encoder", settings=settings)


def tuple_of(variant: str | None = None, **choices: Any) -> tuple[Stored, ...]:
    """(G, D, Gs) with one w a layer, or with a variant (E, G, D, Gs)."""
    networks = TFStyleGAN(**({"repeat_w": False} | choices)).content()
    return networks if variant is None else (IdinvertEncoder(variant).stored(), *networks)
