"""The Python interface: opens networks, inverts images, edits and saves them.

It composes the same configuration as ``evaluate.py`` and uses the same classes, but does not cache
results or write records.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idinvert.annotations import OnCorrupt, Unit
from idinvert.checkpoints.bundle import SHIPPED, find_weights
from idinvert.checkpoints.release import read_header
from idinvert.cli.run_defaults import with_run, words_of_bundle
from idinvert.cli.trained_gans import with_trained_generator
from idinvert.config.compose import compose_plain, given_keys
from idinvert.config.run_folder import find_run
from idinvert.data.convert import to_float, to_uint8
from idinvert.data.decode import as_pictures, fit
from idinvert.data.folder import read_images
from idinvert.data.formats import stems_of
from idinvert.editing.directions import Direction
from idinvert.editing.edits import interpolate, manipulate, mix_styles
from idinvert.errors import CheckpointError, ConfigError, DataError, nearest
from idinvert.evaluation.codes_file import Codes, read_codes
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.directions import open_directions
from idinvert.evaluation.inversion_module import images_together
from idinvert.evaluation.inversions import NO_CODES
from idinvert.evaluation.pictures import to_image
from idinvert.inversion.initialization import mapped
from idinvert.inversion.inversion import in_turns
from idinvert.networks.generator import SynthesisState

Picture = str | Path | Image.Image | np.ndarray | Tensor
"""One image or several: the path of a file, folder or zip; PIL; a uint8 array [H, W, 3] or
[N, H, W, 3]; a uint8 tensor [3, H, W] or [N, 3, H, W]."""
Progress = Callable[[int, int], None]
"""Called with (images done, total images)."""


def open_model(
    source: str | Path = "shipped:faces_mini",
    *overrides: str,
    encoder: str | Path | None = None,
    device: str | torch.device | None = None,
) -> "Model":
    """Opens a generator with its encoder and one inversion method.

    Args:
        source: ``shipped:NAME``; the id or the folder of a run; or a checkpoint: a weights file of
            this project or a file of another one (docs/checkpoints.md).
        overrides: As for ``evaluate.py``, for example ``"inversion=encoder"`` or
            ``"inversion.steps=30"``. The default method is ``in_domain`` (Eq. 4).
        encoder: Path of an encoder, for a ``source`` that is a checkpoint without one.
        device: None for the first GPU, or the CPU without one.

    Raises:
        ConfigError: An override that ``evaluate.py`` refuses, no such run, or no encoder for a
            method that needs one.
        CheckpointError: A file cannot be read, or the networks do not belong together.
    """
    given, name = given_keys(overrides), str(source)
    shipped = words_of_bundle(name) if name.startswith(SHIPPED) else []
    config = compose_plain("evaluate", [*shipped, *overrides])
    if not shipped and _is_run(name, config):
        config["run"] = name
    elif not shipped:
        config["generator"] = {**(config["generator"] or {}), "path": name}
        config["encoder"] = {**config["encoder"], "path": _encoder_beside(name)}
    if encoder is not None:
        config["encoder"] = {**(config["encoder"] or {}), "path": str(encoder)}
        given.setdefault("encoder", []).append("encoder.path")
    config = with_trained_generator(with_run(config, given=given))
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(EvaluationContext(config), device=torch.device(chosen))


class Model:
    """A frozen generator G, its encoder E, and one inversion method.

    Args:
        context: Opens networks and method when they are first used.
        device: Device of all computations.
    """

    def __init__(self, context: EvaluationContext, *, device: torch.device) -> None:
        self._context, self.device = context, device
        self.generator = context.generator.to(device)
        """G; its methods are those of `networks.generator.Generator`."""

    @property
    def resolution(self) -> int:
        """R, the side of an image in pixels."""
        return self.generator.resolution

    @cached_property
    def inverter(self) -> Any:
        """The inversion method; its methods are those of `inversion.inversion.Inverter`."""
        inverter = self._context.inverter
        for network in inverter.networks:
            network.to(self.device)
        return inverter

    @cached_property
    def directions(self) -> dict[str, Direction]:
        """This generator's edit directions by name: of ``task=directions``, or supplied with it.

        Raises:
            ConfigError: There are none.
        """
        return open_directions(self._context, path=None, names=None)

    def invert(
        self,
        images: Picture | Sequence[Picture],
        *,
        on_corrupt: OnCorrupt = "error",
        allow_upscale: bool = False,
        progress: Progress | None = None,
    ) -> "Images":
        """Inverts images, each cropped to its central square and resized to R; keeps their codes.

        Args:
            images: One or several images.
            on_corrupt: Whether damaged and small files are an "error" or skipped ("skip").
            allow_upscale: Whether images smaller than R are enlarged rather than refused.
            progress: Called after each batch.

        Raises:
            ConfigError: Another value of `on_corrupt`.
            DataError: There are no images, or one is damaged, too small or of another type.
        """
        names, targets = self._read(images, on_corrupt=on_corrupt, allow_upscale=allow_upscale)
        codes, noise, states = [], [], []
        size = images_together(self._context, targets, most=len(targets), device=self.device)
        size *= in_turns(self.inverter, slots=size)
        for begin in range(0, len(targets), size):
            batch = to_float(targets[begin : begin + size]).to(self.device)
            ids = torch.arange(begin, begin + len(batch))
            found = self.inverter.invert(batch, generator=self.generator, ids=ids)
            codes.append(found.codes.cpu())
            noise.append(found.noise)
            states.append(found.state)
            if progress is not None:
                progress(begin + len(batch), len(targets))
        rows = [] if noise[0] is None else zip(*noise, strict=True)
        maps = [torch.cat([one.cpu() for one in row]) for row in rows] or None
        state = None if states[0] is None else SynthesisState.joined(states).each(Tensor.cpu)
        return self.synthesize(torch.cat(codes), names=names, noise=maps, state=state)

    @torch.no_grad()
    def synthesize(
        self,
        codes: Tensor,
        *,
        names: Sequence[str] | None = None,
        noise: Sequence[Tensor] | None = None,
        state: SynthesisState | None = None,
    ) -> "Images":
        """Generates the images of codes.

        Args:
            codes: float [N, L, w_dim].
            names: Names of the images, for files; None for numbers.
            noise: Noise maps, each [N, 1, h, w]; None for the method's default.
            state: Features from which synthesis resumes, if codes alone do not give the images.

        Raises:
            ConfigError: The codes do not have this generator's shape.
        """
        expected = (self.generator.num_layers, self.generator.w_dim)
        if codes.ndim != 3 or tuple(codes.shape[1:]) != expected or not len(codes):
            raise ConfigError(
                f"got codes of shape {list(codes.shape)}, expected [N, {expected[0]}, "
                f"{expected[1]}] with N of 1 or more: those of this generator"
            )
        names = [f"{i:05d}" for i in range(len(codes))] if names is None else list(names)
        images, size = [], self._context.batch_size
        for begin in range(0, len(codes), size):
            rows = slice(begin, begin + size)
            maps: Any = self._plain_noise
            if noise is not None:
                maps = [one[rows].to(self.device) for one in noise]
            here = state and state.rows(rows).each(lambda maps: maps.to(self.device))
            made = self.generator.synthesis(codes[rows].to(self.device), noise=maps, resume=here)
            images.append(to_uint8(made).cpu())
        kept = None if noise is None else list(noise)
        return Images(self, codes.detach().cpu(), torch.cat(images), names, kept, state)

    @torch.no_grad()
    def sample(self, n: int, *, truncation: float = 1.0, seed: int = 0) -> "Images":
        """Draws images from G.

        Args:
            n: Number of images.
            truncation: ψ; codes are w̄ + ψ (w − w̄) in every layer.
            seed: Seed of the random draw.
        """
        z = torch.randn(n, self.generator.z_dim, generator=torch.Generator().manual_seed(seed))
        mean, codes = self.generator.w_avg, mapped(self.generator, z.to(self.device))
        return self.synthesize(torch.lerp(mean, codes, truncation))

    def load(self, path: str | Path) -> "Images":
        """Reads codes that `Images.save` or ``task=invert`` wrote, and generates their images.

        Args:
            path: A ``codes.safetensors``, or its folder.

        Raises:
            CheckpointError: It does not exist, cannot be read, or is for another generator.
        """
        found = read_codes(Path(path).expanduser(), generator=self._fingerprint)
        names = stems_of(found.names)
        return self.synthesize(found.codes, names=names, noise=found.noise, state=found.state)

    def direction(self, name: str) -> Direction:
        """Returns the edit direction with a name.

        Raises:
            ConfigError: No such direction; names the nearest one.
        """
        if name not in self.directions:
            raise ConfigError(f"no direction {name!r}. " + nearest(name, list(self.directions)))
        return self.directions[name]

    @property
    def _fingerprint(self) -> str:
        return self._context.checkpoints["generator"]

    @property
    def _plain_noise(self) -> str:
        return "none" if self._context.config["inversion"].get("noise") == "none" else "const"

    def _read(
        self, images: Picture | Sequence[Picture], *, on_corrupt: OnCorrupt, allow_upscale: bool
    ) -> tuple[list[str], Tensor]:
        """Reads images: their names, and uint8 [N, 3, R, R]."""
        several = images if isinstance(images, list | tuple) else [images]
        names, tensors = list[str](), list[Tensor]()
        size: Any = {"resolution": self.resolution, "allow_upscale": allow_upscale}
        for place, one in enumerate(several):
            if isinstance(one, str | Path):
                files = read_images(one, key="images", on_corrupt=on_corrupt, **size)
                names += files.names
                tensors += [files[i]["image"] for i in range(len(files))]
                continue
            for picture in as_pictures(one):
                names.append(f"{len(names):05d}")
                tensors.append(fit(picture, name=f"image {place}", **size))
        if not tensors:
            raise DataError("there are no images to invert")
        return stems_of(names), torch.stack(tensors)


@dataclass(frozen=True, eq=False)
class Images:
    """Generated images with their codes.

    Attributes:
        model: The model that generated them.
        codes: float32 [N, L, w_dim], on the CPU.
        images: uint8 [N, 3, R, R], on the CPU.
        names: N names, for files.
        noise: Noise maps of the method, each [N, 1, h, w]; None for G's own.
        state: Features from which G resumes, for methods whose codes alone do not give the images.
    """

    model: Model
    codes: Tensor
    images: Tensor
    names: list[str]
    noise: list[Tensor] | None = None
    state: SynthesisState | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"Images({len(self)} of {self.model.resolution} px: {', '.join(self.names[:3])}…)"

    def __getitem__(self, index: int) -> Image.Image:
        """One image as a PIL image."""
        return to_image(self.images[index])

    def edit(
        self,
        direction: str | Direction,
        by: float,
        *,
        layers: Sequence[int] | None = None,
        unit: Unit = "length",
    ) -> "Images":
        """Moves every code by α·n (Eq. 5).

        Args:
            direction: n, or its name in `Model.directions`.
            by: α.
            layers: The layers that are edited; None for the direction's default.
            unit: Unit of α: ``"length"`` (of n: 1) or ``"sigma"`` (codes' deviation along n).

        Raises:
            ConfigError: No such direction, layer or unit.
            CheckpointError: The direction belongs to another generator.
        """
        codes = self._edited
        n = self.model.direction(direction) if isinstance(direction, str) else direction
        moved = manipulate(codes, n, [by], layers=layers, unit=unit)[:, 0]
        names = [f"{name}_{n.name}{by:+g}" for name in self.names]
        return self.model.synthesize(moved, names=names, noise=self.noise)

    def interpolate(self, other: "Images", weight: float = 0.5) -> "Images":
        """Interpolates to other codes, image by image: (1 − weight)·own + weight·other (Sec. 4.3).

        Raises:
            ConfigError: Another number of images, or codes of another generator.
        """
        between = interpolate(self._edited, other._edited, [weight])[:, 0]
        noise = None
        if self.noise is not None and other.noise is not None:
            noise = [torch.lerp(a, b, weight) for a, b in zip(self.noise, other.noise, strict=True)]
        return self.model.synthesize(between, names=self.names, noise=noise)

    def mix_styles(self, style: "Images", *, first: int | None = None) -> "Images":
        """Mixes every image with every style: layers `first` and above come from the style.

        Args:
            style: M images.
            first: The first replaced layer; None for the authors' 10 of 14.

        Returns:
            N·M images: all styles of the first image, then of the second, and so on.
        """
        mixed = mix_styles(self._edited, style._edited, first=first).flatten(0, 1)
        names = [f"{a}_{Path(b).name}" for a in self.names for b in style.names]
        return self.model.synthesize(mixed, names=names)

    @property
    def _edited(self) -> Tensor:
        """The codes, for an edit; refused if they alone do not give the images."""
        if self.state is not None:
            what = f"inversion={self.model._context.method}"
            raise ConfigError(NO_CODES.format(task="an edit", what=what))
        return self.codes

    def save(self, folder: str | Path) -> list[Path]:
        """Writes ``<name>.png`` for each image, and ``codes.safetensors`` for `Model.load`.

        Args:
            folder: Created if it does not exist; existing files are replaced.

        Returns:
            The paths of the PNG files.

        Raises:
            DataError: Two images have the same name, or a name leads out of the folder.
        """
        folder = Path(folder).expanduser()
        files = [folder / f"{name}.png" for name in self.names]
        for name, times in Counter(self.names).items():
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise DataError(f"the image name {name!r} leads out of {folder}")
            if times > 1:
                raise DataError(f"several images are called {name!r}: invert them apart")
        for file, image in zip(files, self.images, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            to_image(image).save(file)
        made_by = self.model._fingerprint
        Codes(self.codes, self.names, made_by, self.noise, state=self.state).write(folder)
        return files


def _is_run(source: str, config: dict[str, Any]) -> bool:
    """Whether a source is the id or the folder of a run."""
    if Path(source).expanduser().is_file():
        return False
    try:
        find_run(source, outputs=Path(config["system"]["outputs"]))
    except ConfigError:
        return not Path(source).expanduser().exists()  # then `with_run` says what is wrong
    return True


def _encoder_beside(path: str) -> str | None:
    """The path of a checkpoint's encoder, in the same file or folder; None if there is none."""
    try:
        file = find_weights(path, role="encoder", key="encoder.path")
        return path if read_header(file, key="encoder.path").role == "encoder" else None
    except CheckpointError:
        return None
