"""The input of tasks on units: G layer by layer, its images, and the class of each pixel."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from idinvert.data.convert import to_float, to_uint8
from idinvert.data.domain import prepare
from idinvert.evaluation import networks as wire
from idinvert.evaluation.chunk_store import split_of
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.inversions import invert_images, make_trainer, require_codes
from idinvert.evaluation.samples import inputs_of
from idinvert.evaluation.segmentation import masked_images, named, segmenter_of
from idinvert.metrics.dissection import COLOURS, EDGES, colour_masks, edge_masks
from idinvert.networks.generator import Noise, SynthesisState

KINDS = ("object", "colour", "edge")


@dataclass(frozen=True)
class Seen:
    """Some images of G.

    Attributes:
        codes: [m, L, w_dim].
        noise: their noise argument of G.
        images: uint8 [m, 3, R, R].
        masks: integers [m, R, R], the class of each pixel.
    """

    codes: Tensor
    noise: Noise
    images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Subject:
    """The subject of a dissection: G, and the source of its images and their masks.

    Attributes:
        generator: frozen G, on its device.
        classes: names of the masks' classes.
        look: indices int64 [m] to images.
        segmenter: the network that predicts the masks; None if they are exact.
    """

    generator: Any
    classes: Sequence[str]
    look: Callable[[Tensor], Seen]
    segmenter: Any = None

    @property
    def concepts(self) -> list[str]:
        """Names of the concepts: classes, colours, edges."""
        return [*self.classes, *COLOURS, *EDGES]

    def kind(self, concept: int) -> str:
        """Return `object`, `colour` or `edge`."""
        return KINDS[(concept >= len(self.classes)) + (concept >= len(self.concepts) - len(EDGES))]

    def shown(self, seen: Seen) -> Tensor:
        """Return the masks of all concepts, bool [m, K, R, R], on the CPU."""
        objects = one_hot(seen.masks.long().cpu(), len(self.classes)).permute(0, 3, 1, 2).bool()
        images = seen.images.cpu()
        return torch.cat([objects, colour_masks(images), edge_masks(images)], dim=1)


def checked_layers(
    generator: Any, layers: Sequence[int] | None, *, last: int = 0, key: str = "task.layers"
) -> list[int]:
    """Return the requested layers, sorted; each must have units.

    Args:
        generator: G.
        layers: counted from 1; None for all.
        last: how many layers at the end are excluded.
        key: the key that set them.

    Raises:
        ConfigError: there is no such layer; the error lists those that exist.
    """
    there = [str(k) for k in range(1, len(generator.noise_shapes) + 1 - last)]
    wanted = there if layers is None else [str(k) for k in layers]
    return sorted({1 + named(there, k, key=key, what="layer") for k in wanted})


def states(
    generator: Any, seen: Seen, layers: Sequence[int]
) -> Iterator[tuple[int, SynthesisState]]:
    """Yield G's state after each of the given layers, which must be sorted."""
    state = None
    for k in layers:
        state = generator.synthesis(seen.codes, noise=seen.noise, stop=k, resume=state)
        yield k, state


def subject_of(context: EvaluationContext, *, source: str) -> tuple[Subject | None, torch.device]:
    """Return the subject of a task and its device; the subject is None on all but the first rank.

    Raises:
        ConfigError: no segmenter, or images without masks.
    """
    device = make_trainer(context.trainer, out=context.run_folder, alone=True).strategy.root_device
    if source == "inverted":
        require_codes(context, task="dissection")
        domain = masked_images(context)
        images = split_of(domain, context.split)
        found = invert_images(context)
        if found is None:
            return None, device
        prepare(images, range(context.count))

        def real(index: Tensor) -> Seen:
            noise = found.noise(index)
            given = found.plain_noise if noise is None else [one.to(device) for one in noise]
            masks = torch.stack([images[int(i)]["mask"] for i in index])
            return Seen(found.codes[index].to(device), given, found.images(index), masks)

        return Subject(found.generator, domain.mask_classes, real), device
    if not context.first_process:
        return None, device
    network = segmenter_of(context).to(device)
    generator = context.generator.to(device).eval()
    wire.require_reads(network, generator.resolution, key="segmenter.path")

    @torch.no_grad()
    def sample(index: Tensor) -> Seen:
        codes, noise = inputs_of(generator, index, seed=context.seed)
        images = to_uint8(generator.synthesis(codes, noise=noise).float(), finite="the generator")
        return Seen(codes, noise, images.cpu(), network.segment(to_float(images)).cpu())

    return Subject(generator, network.classes, sample, network), device
