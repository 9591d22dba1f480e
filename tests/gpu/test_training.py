"""Every objective on a GPU: as on the CPU, in every precision, compiled, replayed, resumed."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from idinvert.acceleration import WARM_UP, StepGraphs
from idinvert.config.compose import config_dir
from idinvert.errors import DivergenceError

from .reference import BOUNDS, DEVICE, PRECISIONS, difference, run

Measured = Callable[..., None]
pytestmark = pytest.mark.filterwarnings("ignore:Total length of `DataLoader`")

GANS = {
    "stylegan2": ("experiment=gan", "objective.path_length_every=1"),
    "stylegan": ("experiment=gan", "generator=stylegan", "discriminator=stylegan"),
    "augmented": ("experiment=gan", "augment=fixed"),
    "attributes": ("experiment=attributes", "attributes.width=8"),
}
ENCODERS = {
    "domain_guided": ("experiment=domain_guided",),
    "authors_code": ("experiment=domain_guided", "objective=authors_code"),
    "conventional": ("experiment=conventional",),
    "e4e": ("experiment=e4e", "data.val=0"),
    "force_in_domain": ("experiment=force_in_domain",),
}
OBJECTIVES = {**GANS, **ENCODERS}


def words_of(name: str, world: dict[str, Any], *more: str) -> list[str]:
    stands_on = (
        "generator=checkpoint",
        f"generator.path={world['gan']}",
        f"perceptual.network.path={world['features']}",
    )
    more = (*more, "max_seconds=1000")
    if name in GANS:
        return [*GANS[name], *world["tiny"], *more]
    without = ("perceptual=none",) if name == "conventional" else ()
    rest = stands_on[:2] if name == "conventional" else stands_on
    return [*ENCODERS[name], *without, *world["tiny"], *rest, *more]


def trained(words: list[str], *more: str) -> Path:
    """Trains a few steps; that so short a run has not converged is no matter here."""
    try:
        return run([*words, *more])
    except DivergenceError:
        (outputs,) = (word.split("=", 1)[1] for word in more if word.startswith("system.outputs="))
        (status,) = Path(outputs).rglob("status.json")
        return status.parent


def losses(folder: Path) -> torch.Tensor:
    """All losses and logits of all steps, ``[steps, terms]``."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "images_per_second" in row]
    names = sorted(name for name in rows[-1] if name.startswith(("loss/", "logit/")))
    return torch.tensor([[row.get(name, 0.0) for name in names] for row in rows])


def weights(folder: Path) -> torch.Tensor:
    """All weights that a run left, as one vector."""
    files = sorted((folder / "weights").glob("*.safetensors"))
    tensors = [load_file(path) for path in files]
    return torch.cat([each[name].float().flatten() for each in tensors for name in sorted(each)])


def test_no_objective_is_forgotten():
    objectives = {path.stem for path in (config_dir() / "objective").glob("*.yaml")}
    assert objectives - {"gan", "paper"} == set(OBJECTIVES) - {
        "stylegan2",
        "stylegan",
        "augmented",
        "domain_guided",
    }


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_trains_as_on_the_cpu(
    world, drawn_on_the_cpu, tmp_path, measured, name, precision
):
    words = words_of(name, world)
    here = trained(words, "trainer=cpu", f"system.outputs={tmp_path / 'cpu'}")
    there = trained(
        words, "trainer=auto", *PRECISIONS[precision], f"system.outputs={tmp_path / 'gpu'}"
    )
    expected, got = losses(here), losses(there)
    bound = BOUNDS[precision]
    measured("first step", difference(got[0], expected[0]), bound=bound)
    # Adam's first step has one length however small the gradient: where rounding turns its sign,
    # a weight moves the other way.
    measured("second step", difference(got[1], expected[1]), bound=10 * bound)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_replayed_steps_are_eager_steps(world, tmp_path, measured, caplog, monkeypatch, name):
    replays: list[Any] = []
    replay = StepGraphs._replay
    monkeypatch.setattr(
        StepGraphs, "_replay", lambda self, *given: replays.append(1) or replay(self, *given)
    )
    words = words_of(name, world, "trainer=auto", f"nimg={4 * 2 * (WARM_UP + 4)}")
    eager = trained(words, f"system.outputs={tmp_path / 'eager'}")
    assert not replays
    with caplog.at_level(logging.WARNING):
        graphs = trained(words, "system.cuda_graphs=true", f"system.outputs={tmp_path / 'graphs'}")
    assert "cuda_graphs: off" not in caplog.text
    assert replays or name == "augmented" or DEVICE == "cpu"
    measured("all steps", difference(losses(graphs), losses(eager)), bound=1e-2)
    measured("first steps", difference(losses(graphs)[:6], losses(eager)[:6]), bound=1e-3)


def test_what_cannot_be_recorded_runs_eagerly(caplog):
    graphs = StepGraphs(enabled=True)
    x = torch.arange(4.0, device=DEVICE)
    with caplog.at_level(logging.WARNING):
        for step in range(WARM_UP + 3):
            found = graphs("waits", lambda x: x * x.sum().item(), x + step)
            assert torch.equal(found, (x + step) * (x + step).sum())
    assert caplog.text.count("cuda_graphs: off") == (DEVICE == "cuda")
    assert graphs.enabled is (DEVICE == "cpu")


def test_compiled_networks_compute_the_same(world, tmp_path, measured):
    words = words_of("domain_guided", world, "trainer=auto")
    eager = trained(words, f"system.outputs={tmp_path / 'eager'}")
    compiled = trained(words, "system.compile=true", f"system.outputs={tmp_path / 'compiled'}")
    measured("first step", difference(losses(compiled)[0], losses(eager)[0]), bound=1e-4)
    both = ("system.compile=true", "system.cuda_graphs=true", "nimg=24")
    again = trained(words, *both, f"system.outputs={tmp_path / 'both'}")
    measured("with graphs", difference(losses(again)[:2], losses(eager)[:2]), bound=1e-2)


@pytest.mark.parametrize("graphs", ["false", "true"])
@pytest.mark.parametrize("name", ["stylegan2", "domain_guided"])
def test_checkpointed_activations_change_no_step(
    world, tmp_path, measured, monkeypatch, name, graphs
):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    words = words_of(name, world, "trainer=auto", f"system.cuda_graphs={graphs}", "nimg=24")
    plain = trained(words, f"system.outputs={tmp_path / 'plain'}")
    again = ("system.checkpoint_activations=true", f"system.outputs={tmp_path / 'again'}")
    found = trained(words, *again)
    bound = 0.0 if DEVICE == "cpu" else 1e-4
    measured("all steps", difference(losses(found), losses(plain)), bound=bound)


@pytest.mark.parametrize("graphs", ["false", "true"])
@pytest.mark.parametrize("name", ["stylegan2", "domain_guided"])
def test_a_resumed_run_is_the_unbroken_one(world, tmp_path, measured, monkeypatch, name, graphs):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    words = words_of(name, world, "trainer=auto", f"system.cuda_graphs={graphs}")
    whole = trained(words, "nimg=48", f"system.outputs={tmp_path / 'whole'}")
    trained(words, "nimg=24", f"system.outputs={tmp_path / 'parts'}")
    parts = trained(words, "nimg=48", f"system.outputs={tmp_path / 'parts'}")
    again = trained(words, "nimg=48", f"system.outputs={tmp_path / 'again'}")
    measured("the same run twice", difference(weights(again), weights(whole)), bound=None)
    measured("weights", difference(weights(parts), weights(whole)), bound=1e-3)


def test_nccl_with_one_rank_is_no_rank(world, tmp_path, measured):
    words = words_of("domain_guided", world)
    alone = trained(words, "trainer=auto", f"system.outputs={tmp_path / 'alone'}")
    ddp = ("trainer=ddp", "trainer.devices=1", *(["trainer.accelerator=cpu"] * (DEVICE == "cpu")))
    rank = trained(words, *ddp, f"system.outputs={tmp_path / 'rank'}")
    assert torch.distributed.is_nccl_available()
    measured("two steps", difference(losses(rank), losses(alone)), bound=1e-4)
