"""A page's command in a tiny form: what is given instead of it, and what is only checked."""

import re
from collections.abc import Sequence
from typing import Any

OF_THE_PAPER = ("scale=full", "data=ffhq256", "data=lsun_")
"""What this machine has not: the paper's size, data and checkpoints."""
FULL_SIZE = ("scale", "data", "data.path", "data.name", "generator", "generator.path",
             "perceptual.network.path")  # fmt: skip
"""What a command at the paper's size leaves to the miniature's defaults in its tiny form."""
OF_LAUNCHERS = ("hydra.sweeper.n_trials", "hydra.sweeper.n_jobs", "hydra.launcher.n_jobs",
                "hydra.launcher.partition", "hydra.launcher.timeout_min",
                "hydra.launcher.gpus_per_node")  # fmt: skip
"""What only says how many jobs, and where: two of them suffice, on this machine."""
SWEPT = re.compile(r"[\w.]+=[^,()\[\]{}]+(,[^,()\[\]{}]+)+")
ONE_STORY = ("docs/photographs.md",)
"""Pages whose RUN is what the commands before it made."""
ON_A_DEVICE = {"trainer": "cpu", "logger": "csv", "system.num_threads": 1}
TO_STOP_SOON = {"max_seconds": 0, "logging.panel_steps": 1}
TRAINING = {"batch_size": 2, "eval_batch_size": 4}
EVALUATION = {"n": 4, "batch_size": 4}
MINIATURE = {"data.train": 16, "data.val": 4, "data.test": 8}
FOLDER = {"data.split.test": 6, "data.val": 4}
OF_TASKS = {
    "speed": {"task.images": 2},
    "diffusion": {"task.shown": 1},
    "directions": {"task.samples": 400, "task.fraction": 0.25},
    "manipulation": {"task.shown": 1},
    "control": {"task.shown": 1, "task.second": "null"},
    "interpolation": {"task.shown": 1},
    "mixing": {"task.shown": 2},
    "failures": {"task.worst": 2},
    "dissection": {"task.shown": 2},
    "intervention": {"task.samples": 4, "task.steps": 1},
    "paint": {"task.samples": 32, "task.steps": 1},
    "segmentation": {"task.shown": 2},
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


def in_miniature(words: Sequence[str]) -> list[str]:
    """The words of a command at the paper's size, for miniature faces and the shipped networks."""
    if not any(word.startswith(OF_THE_PAPER) for word in words):
        return list(words)
    return [word for word in words if "=" not in word or key_of(word) not in FULL_SIZE]


def two_jobs(words: Sequence[str]) -> list[str]:
    """A sweep of two jobs: two rows of an experiment, or two values of the first swept key.

    Args:
        words: As on the page, for the program.
    """
    experiment = value_of("experiment", words) or ""
    short, values = [], 2
    for word in words:
        if SWEPT.fullmatch(word) and key_of(word) != "row":
            key, _, listed = word.partition("=")
            word, values = f"{key}={','.join(listed.split(',')[:values])}", 1
        short.append(word)
    rows = value_of("row", words) is None and experiment.startswith(("table", "fig"))
    return short + ["row=0,1"] * rows


def for_hydra(words: Sequence[str], *, ranks: bool) -> list[str]:
    """A sweep's words for Hydra itself: two trials, and no Slurm.

    Args:
        words: As on the page.
        ranks: Whether each job is one of several processes.
    """
    kept = [word for word in words if word.startswith("hydra") and key_of(word) not in OF_LAUNCHERS]
    kept = [word.replace("submitit_slurm", "submitit_local") for word in kept]
    if ranks and any("submitit" in word for word in kept):
        kept.append("hydra.launcher.tasks_per_node=2")
    optuna = any(word.endswith("_optuna") for word in words)
    return kept + ["hydra.sweeper.n_trials=2"] * optuna


def tiny(
    program: str, words: Sequence[str], config: dict[str, Any], *, ranks: bool = False
) -> list[str]:
    """The overrides with all that costs time made small; those given on the page give way.

    Args:
        program: ``"train"`` or ``"evaluate"``.
        words: Overrides, placeholders filled in.
        config: What they compose to; of a sweep, what its first job does.
        ranks: Whether several processes may do what is to be done by several GPUs.
    """
    small: dict[str, Any] = dict(ON_A_DEVICE)
    devices = 1
    if ranks and (value_of("trainer", words) or "").startswith("ddp"):
        small["trainer"], devices = "ddp_cpu", 2
    if (value_of("logger", words) or "").startswith("wandb"):
        small["logger"] = "wandb_offline"
    if value_of("system.outputs", words):
        small["system.outputs"] = "elsewhere"
    goes_on = program == "train" and value_of("run", words)
    if program == "train":
        small |= TO_STOP_SOON
    if program == "train" and not goes_on:
        small |= TRAINING | {"batch_size": 2 * devices * config["accumulate"]}
    elif program == "evaluate":
        small |= EVALUATION
        if value_of("task", words) == "invert":
            del small["n"]  # it inverts all of images=
        small |= _of_evaluation(words, config) if config["table"] is None else {}
    if not goes_on and not (program == "evaluate" and value_of("run", words)):
        target = config["data"]["_target_"]
        small |= MINIATURE if ".toy." in target else FOLDER
    dropped = {*small, "data.skip", "trainer.devices", "trainer.num_nodes"}
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
