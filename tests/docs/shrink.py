"""A page's command in a tiny form: what is given instead of it, and what is only checked."""

import re
from collections.abc import Sequence
from typing import Any

from tests.docs.pages import Command

PUBLISHED = ("data=ffhq256", "data=lsun_", "scale=full", "trained:")
"""What this machine has not: the paper's data and checkpoints, a GAN for every domain."""
ONE_STORY = ("docs/photographs.md",)
"""Pages whose RUN is what the commands before it made."""
ON_A_DEVICE = {"trainer": "cpu", "logger": "csv", "system.num_threads": 1}
TRAINING = {"max_seconds": 0, "batch_size": 2, "eval_batch_size": 4}
EVALUATION = {"n": 4, "batch_size": 4}
MINIATURE = {"data.train": 16, "data.val": 4, "data.test": 8}
FOLDER = {"data.split.test": 6, "data.val": 4}
OF_TASKS = {
    "speed": {"task.images": 2},
    "diffusion": {"task.shown": 1},
    "directions": {"task.samples": 400, "task.fraction": 0.25},
    "manipulation": {"task.shown": 1},
    "interpolation": {"task.shown": 1},
    "mixing": {"task.shown": 2},
    "failures": {"task.worst": 2},
}
TO_GO_ON = ("run", "nimg", "max_seconds", "trainer", "logger", "system", "logging", "checkpoint")


def key_of(word: str) -> str:
    """The key of an override."""
    return word.lstrip("+~").split("=", 1)[0]


def value_of(key: str, words: Sequence[str]) -> str | None:
    """What an override says, if it is there."""
    return next((word.split("=", 1)[1] for word in words if key_of(word) == key), None)


def overrides(words: Sequence[str]) -> list[str]:
    """The words that choose something, without Hydra's own and without flags and open ends."""
    chosen = [word for word in words if word[:1] == "~" or (word[:1] != "-" and "=" in word)]
    return [word for word in chosen if not word.startswith("hydra") and not word.endswith("=…")]


def only_checked(command: Command) -> str | None:
    """Why a command's configuration is composed and checked, and nothing is run; None to run it."""
    text = command.text
    if any(word in text for word in PUBLISHED):
        return "needs the paper's data or checkpoints"
    if re.match(r"(\w+=\S+ )*(torchrun|srun|sbatch)\b", text):
        return "needs ranks that others start"
    if "--cfg" in text:
        return "runs nothing"
    if " row=" in text:
        return "stands on a GAN of experiment=generators"
    if " -m" in text and re.search(r"(experiment|hparams_search)=", text):
        return "a sweep that other tests run"
    return None


def tiny(program: str, words: Sequence[str], config: dict[str, Any]) -> list[str]:
    """The overrides with all that costs time made small; those given on the page give way.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        words: Overrides, placeholders filled in; of a sweep, one combination.
        config: What they compose to.
    """
    small: dict[str, Any] = dict(ON_A_DEVICE)
    if (value_of("logger", words) or "").startswith("wandb"):
        small["logger"] = "wandb_offline"
    if value_of("system.outputs", words):
        small["system.outputs"] = "elsewhere"
    goes_on = program == "train" and value_of("run", words)
    if goes_on:
        small["max_seconds"] = 0
    elif program == "train":
        small |= TRAINING | {"batch_size": 2 * config["accumulate"]}
    else:
        small |= EVALUATION
        small |= _of_evaluation(words, config) if config["table"] is None else {}
    if not goes_on and not (program == "evaluate" and value_of("run", words)):
        target = config["data"]["_target_"]
        small |= MINIATURE if "miniature" in target else FOLDER
    dropped = {*small, "data.skip"}
    kept = [word for word in words if key_of(word) not in dropped]
    return [*kept, *(f"{key}={value}" for key, value in small.items())]


def _of_evaluation(words: Sequence[str], config: dict[str, Any]) -> dict[str, Any]:
    task = config["task"]["_target_"].rsplit(".", 2)[-2]
    known = config["task"]
    small = {k: v for k, v in OF_TASKS.get(task, {}).items() if k.split(".", 1)[1] in known}
    if config["inversion"].get("steps"):
        small["inversion.steps"] = 1
    if value_of("metric.names", words) is None:
        small["metric.names"] = "[mse,swd]"  # of pairs, and of sets
    if config["task"].get("method", "svm") != "svm":
        small = {key: value for key, value in small.items() if key != "task.fraction"}
    return small
