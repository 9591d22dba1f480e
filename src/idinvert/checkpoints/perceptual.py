"""Perceptual networks with their weights, from the registry or from a local file."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from idinvert.annotations import Count, PathText, PositiveInt
from idinvert.checkpoints.formats.read import read_state_dict
from idinvert.checkpoints.registry import ENTRIES, locate
from idinvert.checkpoints.strict_loading import StrictStateDict, load
from idinvert.data.content import file_hash
from idinvert.errors import CheckpointError
from idinvert.networks.perceptual import SqueezeNetFeatures, VGG16Features

_PREFIX = "features."
_KERAS_PREFIX = "layer"  # the authors' vgg16.pth: layer0.weight, …, ported from Keras, hence BGR
Network = TypeVar("Network", SqueezeNetFeatures, VGG16Features)


def vgg16(
    path: PathText | None = None,
    *,
    key: str = "perceptual.path",
    resize: PositiveInt | None = 256,
    channel_order: str | None = None,
) -> VGG16Features:
    """Loads the paper's F: in ``eval()``, with frozen weights.

    Args:
        path: A local file (torch or safetensors), in torchvision's layout or in that of the
            authors' ``vgg16.pth``; None for the registry's.
        key: The config key that takes the local path.
        resize: As in `VGG16Features`.
        channel_order: As in `VGG16Features`; None is ``"bgr"`` for the authors' layout and
            ``"rgb"`` for torchvision's, which the registry's file has.

    Raises:
        MissingWeightsError: The file is not on this machine.
        CheckpointError: The file is broken, does not match, or expects another input scale.
    """
    file = locate("vgg16_caffe", path=path, key=key)
    wrong = ENTRIES["vgg16_imagenet"]
    if path is not None and file_hash(file).startswith(wrong.sha256):
        raise CheckpointError(
            f"{file}: is torchvision's IMAGENET1K_V1, which expects another input scale; expected "
            f"{ENTRIES['vgg16_caffe'].filename} (IMAGENET1K_FEATURES); change {key}"
        )
    found = read_state_dict(file, key=key)
    keras = f"{_KERAS_PREFIX}0.weight" in found
    order = channel_order or ("bgr" if keras else "rgb")
    if keras and order != "bgr":
        raise CheckpointError(
            f"{file}: is the authors' port of Keras' VGG16, which takes BGR; got channel_order "
            f"{order!r}, expected 'bgr' or null; change {key}"
        )
    prefix = _KERAS_PREFIX if keras else _PREFIX

    def make() -> VGG16Features:
        return VGG16Features(resize=resize, channel_order=order)

    return _fill(make, found, file, key=key, prefix=prefix)


def squeezenet(
    path: PathText | None = None,
    *,
    key: str = "perceptual.path",
    layer: Count = 12,
    resize: PositiveInt | None = None,
    input_scale: str | None = None,
) -> SqueezeNetFeatures:
    """Loads SqueezeNet 1.1 features: in ``eval()``, with frozen weights.

    Args:
        path: A local file (torch or safetensors); None for the registry's (torchvision).
        key: The config key that takes the local path.
        layer: As in `SqueezeNetFeatures`.
        resize: As in `SqueezeNetFeatures`.
        input_scale: As in `SqueezeNetFeatures`; None is ``"torchvision"`` for a file with the
            sha256 of torchvision's, else ``"caffe"``.

    Raises:
        MissingWeightsError: The file is not on this machine.
        CheckpointError: The file is broken or does not match.
    """
    file = locate("squeezenet", path=path, key=key)
    if input_scale is None:
        published = file_hash(file).startswith(ENTRIES["squeezenet"].sha256)
        input_scale = "torchvision" if published else "caffe"

    def make() -> SqueezeNetFeatures:
        return SqueezeNetFeatures(layer=layer, resize=resize, input_scale=input_scale)

    return _fill(make, read_state_dict(file, key=key), file, key=key, prefix=_PREFIX)


def _fill(
    make: Callable[[], Network], tensors: dict[str, Tensor], path: Path, *, key: str, prefix: str
) -> Network:
    """Builds ``features`` from a file that may contain more (a classifier, deeper layers)."""
    found = {f"{_PREFIX}{name.removeprefix(prefix)}": value for name, value in tensors.items()}
    what = f"{path} (features in torchvision's layout)"
    network = load(make, None, StrictStateDict(found, what=what, key=key), extra=True)
    network.weights_sha256 = file_hash(path)
    return network
