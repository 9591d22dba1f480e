"""What a sweep is checked for before any job: words, extras, launchers, ranks of ranks."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore

from idinvert.cli.sweep import planned, probes, sweep_name
from idinvert.config.argv import for_hydra
from idinvert.config.compose import compose_plain, config_dir, parse, register
from idinvert.errors import ConfigError

LAUNCHERS = sorted((config_dir() / "hydra" / "launcher").glob("*.yaml"))
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """These tests may themselves run under Slurm."""
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_a_launchers_file_opens_with_a_command_that_is_a_plan(path):
    first, about = path.read_text().splitlines()[:2]
    found = re.match(r"# python (train|evaluate)\.py -m (.*)$", first)
    assert found and f"hydra/launcher={path.stem}" in first and about.startswith("# ")
    plan = planned(found[1], shlex.split(found[2]))
    assert plan.jobs is not None and len(plan.jobs) == 10
    if "submitit_folder" in plan.launcher:
        assert plan.launcher["submitit_folder"].startswith("outputs")
        assert plan.launcher["tasks_per_node"] == 1


def test_submitit_gets_a_task_a_gpu_and_the_sweeps_name():
    words = ["hydra/launcher=submitit_slurm", "seed=0,1", "trainer=ddp", "trainer.devices=4"]
    plan = planned("train", [*words, "hydra.launcher.gpus_per_node=4"])
    assert plan.launcher["tasks_per_node"] == 4
    assert f"hydra.job.name={plan.folder.name}" in plan.words
    assert f"hydra.sweep.dir='outputs/sweeps/{plan.folder.name}'" in plan.words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["hydra/launcher=submitit_slurm", "hydra.launcher.partion=a"],
            "Did you mean 'hydra.launcher.partition'",
        ),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=long"], "timeout_min=long"),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_job=3"],
            "Did you mean 'hydra.launcher.n_jobs'",
        ),
        (["hydra/launcher=joblb"], "joblb"),
        (["objective.lrr=1"], "Did you mean 'objective.lr'"),
        (["hparams_search=domain_guided_optun"], "Did you mean 'domain_guided_optuna'"),
        (
            ["hparams_search=learning_rate_grid", "hydra.sweeper.parms=1"],
            "Did you mean 'hydra.sweeper.params'",
        ),
    ],
)
def test_a_mistake_is_said_before_any_job(words, message):
    with pytest.raises(ConfigError, match=message):
        planned("train", ["seed=0,1", *words])


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        ("hydra/launcher=joblib", "sweep"),
        ("hydra/launcher=submitit_slurm", "slurm"),
        ("hydra/sweeper=optuna", "sweep"),
        ("hparams_search=domain_guided_optuna", "sweep"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, word, extra):
    register()
    stored = ConfigStore.instance().repo["hydra"]
    without: dict[str, Any] = {"launcher": {}, "sweeper": {}}
    for group in without:
        kept = {k: v for k, v in stored[group].items() if k.startswith("basic")}
        monkeypatch.setitem(stored, group, kept)
    with pytest.raises(ConfigError, match=rf"pip install 'idinvert\[{extra}\]'"):
        planned("train", ["seed=0,1", word])


TWO = ["seed=0,1", "trainer=ddp_cpu"]


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib"]], ids=["basic", "joblib"])
def test_ranks_that_would_start_the_sweep_again_are_refused_with_what_works(launcher, monkeypatch):
    with pytest.raises(ConfigError) as caught:
        planned("train", [*TWO, *launcher])
    message = str(caught.value)
    assert "2 devices a job: strategy=ddp_find_unused_parameters_true" in message
    commands = [line.strip() for line in message.splitlines() if "train.py" in line]
    assert commands == [
        "python train.py -m seed=0,1 trainer=ddp_cpu hydra/launcher=submitit_slurm "
        "hydra.launcher.tasks_per_node=2",
        "torchrun --standalone --nproc_per_node=2 train.py seed=0 trainer=ddp_cpu",
        "torchrun --standalone --nproc_per_node=2 train.py seed=1 trainer=ddp_cpu",
    ]
    assert planned("train", shlex.split(commands[0])[3:]).launcher["tasks_per_node"] == 2
    for command in commands[1:]:
        compose_plain("train", shlex.split(command)[4:])


def test_the_commands_of_a_sweeps_rows_are_whole_and_not_too_many():
    words = ["experiment=table3_encoders", "data=faces_mini", "seed=0,1,2", "trainer=ddp"]
    with pytest.raises(ConfigError) as caught:
        planned("train", [*words, "trainer.devices=8", "trainer.num_nodes=2"])
    lines = str(caught.value).splitlines()
    assert "16 devices a job" in lines[0]
    assert any("hydra.launcher.gpus_per_node=8 hydra.launcher.nodes=2" in line for line in lines)
    runs = [line for line in lines if "torchrun" in line]
    assert len(runs) == 12 and lines[-1].strip() == "… and 3 more of this kind"
    assert "torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d" in runs[0]
    assert "experiment=domain_guided encoder=base" in runs[0] and "row=" not in runs[0]


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"},
    ],
    ids=["torchrun", "srun"],
)
def test_a_sweep_in_every_rank_is_refused(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"in each of 2 ranks(?s:.*)torchrun --standalone"):
        planned("train", TWO)


def test_what_starts_no_process_of_its_own_may_sweep():
    assert planned("train", ["seed=0,1", "trainer=ddp_cpu", "trainer.strategy=ddp_spawn"]).jobs
    assert planned("train", ["seed=0,1", "trainer=ddp_cpu", "trainer.devices=1"]).jobs
    assert planned("train", ["seed=0,1", "trainer=cpu"]).jobs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer=ddp", "trainer.devices=4"], r"1 task\(s\).*gpus_per_node=4"),
        (["trainer=ddp_cpu"], r"tasks_per_node=2"),
        (["trainer.num_nodes=2"], r"nodes=1 for trainer.num_nodes=2"),
    ],
)
def test_submitit_must_start_as_many_tasks_as_there_are_devices(words, message):
    with pytest.raises(ConfigError, match=message):
        planned("train", ["seed=0,1", "hydra/launcher=submitit_slurm", *words])


def test_a_sweeps_name_is_what_was_asked_for():
    name = sweep_name("train", ["experiment=table3_encoders", "seed=0,1"])
    assert re.fullmatch(r"table3_encoders_[0-9a-f]{6}", name)
    same = ["seed=0,1", "experiment=table3_encoders", "system.outputs=o", "hydra/launcher=joblib"]
    assert sweep_name("train", same) == name
    assert sweep_name("train", ["experiment=table3_encoders", "seed=0,2"]) != name
    assert sweep_name("evaluate", ["experiment=table3_encoders", "seed=0,1"]) != name
    assert sweep_name("train", ["seed=0,1"]).startswith("train_")
    params = ["hydra.sweeper.params.seed=1,2"]
    assert sweep_name("train", params) != sweep_name("train", [])


def test_probes_hold_every_choice_and_both_ends_once():
    words = ["a=choice(1,2,3)", "b=tag(log, interval(1e-5, 1e-3))", "c=x", "a=4,5"]
    assert probes(words) == [
        ["a=4", "b=1e-05", "c=x"],
        ["a=5", "b=1e-05", "c=x"],
        ["a=4", "b=0.001", "c=x"],
    ]


def test_a_grid_of_a_search_file_is_checked_and_counted():
    plan = planned("train", ["hparams_search=learning_rate_grid"])
    assert plan.jobs is not None and len(plan.jobs) == 9
    assert [word for word in plan.jobs[4] if word.startswith("objective")] == [
        "objective.lr=0.0001",
        "objective.lambda_adv=0.1",
    ]
    typo = "+hydra.sweeper.params.objective.lrr=1"
    with pytest.raises(ConfigError, match=r"objective\.lrr"):
        planned("train", ["hparams_search=learning_rate_grid", typo])


def test_a_search_takes_another_sampler_and_several_jobs_at_once():
    words = ["hparams_search=domain_guided_optuna", "hydra/sweeper/sampler=random"]
    plan = planned("train", [*words, "hydra/launcher=joblib", "hydra.sweeper.n_jobs=2"])
    assert plan.jobs is None and plan.direction == "minimize"
    assert not [word for word in plan.words if "seed" in word]
    plan = planned("train", [*words, "hydra.sweeper.sampler.seed=null"])
    seed = int(plan.folder.name[-6:], 16)
    assert f"hydra.sweeper.sampler.seed={seed}" in plan.words, "the same command, the same trials"


def test_a_path_stays_one_value_whatever_signs_are_in_it(tmp_path):
    outputs = tmp_path / "it's, a=b {c}"
    plan = planned("train", ["seed=0,1", for_hydra(f"system.outputs={outputs}")])
    assert plan.folder == outputs / "sweeps" / plan.folder.name
    (word,) = (word for word in plan.words if word.startswith("hydra.sweep.dir="))
    assert parse([word])[0].value() == str(plan.folder)


def test_every_draw_of_the_wandb_sweep_is_a_command_that_composes():
    path = ROOT / "experiments" / "wandb_sweep.yaml"
    sweep = yaml.safe_load(path.read_text())
    assert path.read_text().startswith(f"# wandb sweep {path.relative_to(ROOT)}\n")
    assert sweep["command"] == ["${env}", "python", "${program}", "${args_no_hyphens}"]
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["method"] in ("grid", "random", "bayes")
    draws = []
    for key, node in sweep["parameters"].items():
        assert set(node) <= {"value", "values", "distribution", "min", "max"}
        ends = [node["min"], node["max"]] if "min" in node else [node.get("value")]
        draws.append(f"{key}={','.join(map(str, node.get('values', ends)))}")
    commands = probes(draws)
    assert len(commands) == 6, "each value and each end of a range"
    for words in commands:
        config = compose_plain("train", words)
        assert config["logger"]["wandb"] is not None
        assert isinstance(config["objective"]["lr"], float)
    assert sweep["metric"] == {"name": "val/mse", "goal": "minimize"}
