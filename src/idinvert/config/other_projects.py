"""Names of settings in other projects, and their names here (table in `docs/researcher.md`)."""

from collections.abc import Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from idinvert.errors import nearest

NEIGHBOURS: dict[str, tuple[str, str]] = {
    "lr": ("objective.lr=…", "inversion.lr=…"),
    "learning_rate": ("objective.lr=…", "inversion.lr=…"),
    "steps": ("nimg=… (images, not steps)", "inversion.steps=…"),
    "num_steps": ("nimg=… (images, not steps)", "inversion.steps=…"),
    "max_steps": ("nimg=… (images, not steps)", "inversion.steps=…"),
    "max_epochs": ("nimg=… (images, not epochs)", ""),
    "epochs": ("nimg=… (images, not epochs)", ""),
    "kimg": ("nimg=… (images, so 1,000 times kimg)", ""),
    "batch": ("batch_size=…", "batch_size=…"),
    "batch_gpu": ("accumulate=…", "batch_size=…"),
    "ckpt_path": ("run=RUN", "run=RUN or encoder.path=FILE"),
    "ckpt": ("run=RUN", "encoder.path=FILE generator.path=FILE"),
    "checkpoint_path": ("run=RUN", "encoder.path=FILE"),
    "resume": ("run=RUN, or the same command again", ""),
    "network": ("generator=checkpoint generator.path=FILE",) * 2,
    "stylegan_weights": ("generator=checkpoint generator.path=FILE",) * 2,
    "model": ("encoder=NAME", "encoder.path=FILE, or run=RUN"),
    "encoder_type": ("encoder=NAME", "encoder.path=FILE, or run=RUN"),
    "optimizer": ("objective.lr=…, objective.betas=[…]", "inversion.optimizer=adam"),
    "loss": ("objective=NAME", "inversion.lambda_vgg=…"),
    "lpips_lambda": ("perceptual.lambda_vgg=…", "inversion.lambda_vgg=…"),
    "l2_lambda": ("the pixel term has weight 1", "inversion.lambda_pixel=…"),
    "start_from_latent_avg": ("latent.offset=w_avg", "latent.offset=w_avg, in training"),
    "outdir": ("system.outputs=FOLDER", "system.outputs=FOLDER, or task.out=FOLDER"),
    "exp_dir": ("system.outputs=FOLDER", "system.outputs=FOLDER, or task.out=FOLDER"),
    "output_dir": ("system.outputs=FOLDER", "system.outputs=FOLDER, or task.out=FOLDER"),
    "gpus": ("trainer=ddp trainer.devices=N", "trainer.accelerator=gpu"),
    "device": ("trainer.accelerator=gpu", "trainer.accelerator=gpu"),
    "devices": ("trainer.devices=N", "trainer.accelerator=gpu"),
    "workers": ("system.num_workers=N", "system.num_workers=N"),
    "num_workers": ("system.num_workers=N", "system.num_workers=N"),
    "precision": ("trainer.precision=bf16-mixed", "trainer.precision=bf16-mixed"),
    "fp16": ("trainer.precision=bf16-mixed", "trainer.precision=bf16-mixed"),
    "dataset": ("data=NAME, or data=folder data.path=FOLDER",) * 2,
    "data": ("data=folder data.path=FOLDER", "images=FOLDER"),
    "data_dir": ("data=folder data.path=FOLDER", "images=FOLDER"),
    "input": ("data=folder data.path=FOLDER", "images=FOLDER"),
    "image": ("data=folder data.path=FOLDER", "images=FOLDER"),
    "target": ("", "images=FILE"),
    "resolution": ("scale.resolution=…", "scale.resolution=…"),
    "truncation": ("", "task=samples task.truncation=…"),
    "trunc": ("", "task=samples task.truncation=…"),
    "wandb": ("logger=wandb", "logger=wandb"),
    "max_images": ("", "n=…"),
    "experiment": ("experiment=NAME, without dashes",) * 2,
}
"""Foreign name to its equivalents in ``train.py`` and ``evaluate.py``; empty if there is none."""
CHOICES = {
    "hydra/launcher=slurm": "hydra/launcher=submitit_slurm",
    "hydra/launcher=submitit": "hydra/launcher=submitit_local",
    "logger=none": "logger=csv",
    "generator=path": "generator=checkpoint generator.path=FILE",
    "observe=colorization": "observe=colourisation",
}
"""Foreign choice of a group to its name here."""


def hint(program: str, key: str) -> str | None:
    """A sentence that translates another project's key; ``None`` for an unknown key.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        key: The key as typed, with or without its group.
    """
    words = NEIGHBOURS.get(key.rsplit(".", 1)[-1])
    if words is None:
        return None
    ours, other = words if program == "train" else words[::-1]
    if ours:
        return f"Here it is {ours}."
    return f"{program}.py has no use for it; in {_other(program)}.py it is {other}."


def hint_of_choice(word: str) -> str | None:
    """A sentence that translates a foreign choice (``hydra/launcher=slurm``), or ``None``."""
    return f"Here it is {CHOICES[word]}." if word in CHOICES else None


def dotted(node: Any, prefix: str = "", *, but: str = "") -> list[str]:
    """The dotted keys of nested mappings, except the top-level key `but`."""
    keys = []
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if key != but:
            keys += [f"{prefix}{key}", *dotted(value, f"{prefix}{key}.")]
    return keys


def nearest_key(name: str, keys: list[str]) -> str:
    """A sentence with the key nearest to a typo, at any depth, or with the keys of its group.

    Args:
        name: The key as typed.
        keys: All valid dotted keys.
    """
    group, _, last = name.rpartition(".")
    keys = [key for key in keys if not key.rpartition(".")[2].startswith("_")]
    beside = [
        key.removeprefix(f"{group}.") for key in keys if key.startswith(f"{group}.") and group
    ]
    if group in keys and not beside:
        return f"{group} has no keys here, and is set as {group}=…"
    top = [key for key in keys if "." not in key]
    unheard_of = not get_close_matches(group.partition(".")[0], top)

    def score(key: str) -> float:
        at, _, leaf = key.rpartition(".")
        part, place, whole = (_likeness(*two) for two in ((last, leaf), (group, at), (name, key)))
        near = (part + place / 10) * (part > 0.6 and (unheard_of or place > 0.5))
        # The same names elsewhere, such as in scale, are only defaults of these keys.
        first = 1 + key.startswith(("objective.", "inversion.")) / 100
        return max(near, whole * 1.2 * (whole > 0.9)) * first

    if keys and score(best := max(keys, key=score)) > 0:
        return f"Did you mean '{best}'?"
    if beside or unheard_of:
        return nearest("", beside or top)
    return nearest(group.partition(".")[0], top)


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _other(program: str) -> str:
    return "evaluate" if program == "train" else "train"


def as_markdown() -> str:
    """The table of `docs/researcher.md`."""
    rows = [(f"`{word}`", *map(_cell, ours)) for word, ours in NEIGHBOURS.items()]
    rows += [(f"`{word}`", f"`{ours}`", "") for word, ours in CHOICES.items()]
    head = ["| elsewhere | `train.py` | `evaluate.py` |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _cell(ours: str) -> str:
    return f"`{ours}`" if "=" in ours and " (" not in ours and "," not in ours else ours
