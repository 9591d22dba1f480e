"""Where a page's commands are run: a folder with photographs, weights and a run to name."""

import functools
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

from idinvert.checkpoints.bundle import assets_folder
from idinvert.cli import trained_gans
from idinvert.cli.train import train
from idinvert.cli.trained_gans import TRAINED, gan_command
from idinvert.config.compose import compose_plain
from tests.docs.pages import REPOSITORY, Command
from tests.docs.shrink import ONE_STORY

ONE_STEP = ("data.train=16", "data.val=4", "data.test=8", "trainer=cpu", "batch_size=2",
            "max_seconds=0", "eval_batch_size=4", "logging.panel_steps=1")  # fmt: skip
SHIPPED = assets_folder()
PHOTOGRAPHS = 24
SIDE = 72


@dataclass
class World:
    """A folder that commands are run in, and what their placeholders stand for.

    Attributes:
        base: The run that RUN means at first.
        patch: For what belongs to one command.
        done: Commands run so far; what two pages say is run once.
        generators: Folder of the GANs that ``trained:`` asks for, kept for all pages.
    """

    base: Path
    patch: pytest.MonkeyPatch
    done: set[tuple[str, ...]]
    generators: Path
    made: dict[str, Path] = field(default_factory=dict)

    def filled(self, command: Command, words: list[str]) -> list[str]:
        """The words with what their placeholders stand for here."""
        encoder = self.made.get("encoder", self.base) if command.page in ONE_STORY else self.base
        weights = SHIPPED / "faces_mini" / "generator.safetensors"
        places = {
            r"outputs/gan/RUN\b": str(self.made.get("gan", weights.parent)),
            r"outputs/\w+/RUN\b": str(encoder),
            r"\bRUN\b": str(encoder),
            r"encoder\.path=FILE\b": f"encoder.path={weights.with_name('encoder.safetensors')}",
            r"\bFILE\b": str(weights),
            r"\b(FOLDER|SRC|SOME)\b|^ffhq/\S+$": "photos",
            r"\bOUT\b": "made",
        }
        for pattern, place in places.items():
            words = [re.sub(pattern, place, word) for word in words]
        return words

    def new(self, program: str, words: list[str]) -> bool:
        """Whether this has not been run before."""
        key = (program, *words)
        known = key in self.done
        self.done.add(key)
        return not known

    def before(self, *, table: str | None) -> None:
        """A table shows runs of this folder alone: to evaluate what is shipped takes minutes."""
        folder = SHIPPED if table is None else Path("nothing shipped")
        self.patch.setattr(trained_gans, "assets_folder", lambda: folder)

    def gans(self, configs: Iterable[dict[str, Any]]) -> None:
        """Gives this folder the GANs that configurations ask for with ``trained:KIND``.

        Each is trained for one step by the command that the error about a missing one names.
        """
        for config in configs:
            path = (config["generator"] or {}).get("path") or ""
            if not path.startswith(TRAINED):
                continue
            advised = shlex.split(gan_command(path.removeprefix(TRAINED), config))[2:]
            made = gan_of_one_step(*advised, *ONE_STEP, f"system.outputs={self.generators}")
            here = Path("outputs", "gan", made.name)
            here.parent.mkdir(parents=True, exist_ok=True)
            if not here.exists():
                here.symlink_to(made, target_is_directory=True)

    def trained(self, folder: Path) -> None:
        """Remembers a run for the commands after it."""
        self.made["gan" if folder.parent.name == "gan" else "encoder"] = folder


@functools.cache
def gan_of_one_step(*words: str) -> Path:
    """The folder of the run that ``train.py words`` makes, once for all pages."""
    return train(compose_plain("train", list(words)))


def base_run(root: Path) -> Path:
    """An encoder for the shipped generator, after one step."""
    words = [*ONE_STEP, f"system.outputs={root / 'outputs'}"]
    return train(compose_plain("train", words))


def furnish(folder: Path, base: Path) -> Path:
    """Writes what pages name into a folder; returns the run's copy there."""
    for name, count in (("photos", PHOTOGRAPHS), ("my_photos", 3)):
        write_photographs(folder / name, count)
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as file:
            for picture in sorted((folder / name).iterdir()):
                file.write(picture, picture.name)
    torch.manual_seed(0)
    torch.save(squeezenet1_1().features.state_dict(), folder / "squeezenet.pth")
    run = folder / "outputs" / "domain_guided" / base.name
    shutil.copytree(base, run)
    measured = REPOSITORY / "experiments" / "faces_mini" / "records.jsonl"
    shutil.copy(measured, folder / "outputs" / "records.jsonl")
    (folder / "experiments").symlink_to(REPOSITORY / "experiments", target_is_directory=True)
    return run


def write_photographs(folder: Path, count: int) -> None:
    """Smooth coloured pictures, each another."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for k in range(count):
        coarse = torch.randint(0, 256, (3, 3, 3), generator=generator, dtype=torch.uint8)
        picture = Image.fromarray(coarse.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        name = dict(enumerate(("anna", "ben"))).get(k, f"{k:03d}")
        picture.save(folder / f"{name}.png")
