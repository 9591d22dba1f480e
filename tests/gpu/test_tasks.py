"""Every task of `evaluate.py` on a GPU, on the shipped networks, against its record of the CPU."""

import math
from collections.abc import Callable

import pytest
import torch

from idinvert.cli.evaluate import evaluate
from idinvert.config.compose import compose_plain, config_dir, given_keys
from idinvert.evaluation import inversion_module
from idinvert.inversion import batch_size
from idinvert.inversion.optimize_codes import InDomainInverter
from idinvert.results.record import Record
from idinvert.toy.miniature import faces_mini

Measured = Callable[..., None]
FEW = ("n=8", "data.train=8", "data.val=2", "data.test=16", "batch_size=4")
SETS = ("metric.names=[mse,swd,fd_attributes]",)
TASKS = {
    "reconstruction": ("inversion=in_domain", "inversion.steps=3"),
    "interpolation": ("inversion=encoder", *SETS),
    "manipulation": ("inversion=encoder", *SETS, "task.names=[pose]"),
    "mixing": ("inversion=encoder", *SETS),
    "semantics": ("inversion=encoder",),
    "failures": ("inversion=encoder", "task.worst=2"),
    "samples": SETS,
    "diffusion": ("inversion=diffusion", "inversion.steps=2", "task.images=[0,1]"),
    "out_of_domain": ("task.methods=[{label: E, words: 'inversion=encoder'}]", *SETS),
    "initial": ("metric.names=[mse]",),
    "gallery": ("task.methods=[{label: E, words: 'inversion=encoder'}]",),
    "attributes": (),
    "directions": ("task.samples=200", "task.fraction=0.05", "task.names=[pose,smile]"),
    "codes_map": ("task.methods=[{label: E, words: 'inversion=encoder'}]",),
    "speed": ("inversion=encoder", "task.images=2"),
}
ELSEWHERE = {"invert", "training_curves", "recalibrate", "control"}
"""The first has its own test below; the second reads a run's losses and computes nothing; the third
is what every training of an encoder does before it saves weights, on the data that it learned from;
the errors of the fourth are what a search leaves, which rounding changes.
"""


def go(*words: str) -> list[Record]:
    return evaluate(compose_plain("evaluate", list(words)), given=given_keys(words))


def test_no_task_is_forgotten():
    tasks = {path.stem for path in (config_dir() / "task").glob("*.yaml")}
    assert tasks == set(TASKS) | ELSEWHERE


@pytest.mark.parametrize("task", TASKS)
def test_a_task_measures_as_on_the_cpu(tmp_path, measured, task):
    words = [f"task={task}", *FEW, *TASKS[task], f"system.cache={tmp_path / 'cache'}"]
    here, there = (
        go(*words, f"trainer={trainer}", f"system.outputs={tmp_path / trainer}")
        for trainer in ("cpu", "auto")
    )
    assert len(here) == len(there)
    for one, other in zip(there, here, strict=True):
        assert set(one.metrics) == set(other.metrics)
        for name, expected in other.metrics.items():
            if "seconds" in name or math.isnan(expected):
                continue
            # A pixel of a uint8 set, or the side of a boundary, may round the other way.
            apart = abs(one.metrics[name] - expected) / max(abs(expected), 0.05)
            measured(name, apart, bound=0.05)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_own_photographs(tmp_path, precision):
    from torchvision.utils import save_image

    split = faces_mini(resolution=32, train=1, test=3, val=1, cache_dir=tmp_path).test
    for index in range(3):
        save_image(split[index]["image"] / 255, tmp_path / f"{index}.png")
    (photos := tmp_path / "photos").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(photos / path.name)
    words = ["task=invert", f"images={photos}", "inversion.steps=3", "trainer=auto"]
    go(*words, f"trainer.precision={precision}", f"system.outputs={tmp_path / 'out'}")
    assert len(list((tmp_path / "out").rglob("*.html"))) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures the memory of a GPU")
def test_a_batch_of_auto_fits_into_the_memory_that_was_counted_on(tmp_path, monkeypatch):
    """Of a GPU said to have little memory free: what was chosen takes no more than that."""
    memory = batch_size.GPUMemory(torch.device("cuda", torch.cuda.current_device()))
    held = torch.empty(2**26, dtype=torch.uint8, device="cuda")
    assert memory.peak(lambda: torch.empty_like(held)) == pytest.approx(2**26, rel=0.1)
    assert 0 < memory.free() < torch.cuda.get_device_properties(memory.device).total_memory
    few, peaks = 2**28, []

    class Short(batch_size.GPUMemory):
        def free(self):
            return few

    invert = InDomainInverter.invert
    measure = lambda *given, **named: peaks.append(  # noqa: E731
        memory.peak(lambda: found.append(invert(*given, **named)))
    )
    found = []
    monkeypatch.setattr(inversion_module, "memory_of", Short)
    monkeypatch.setattr(
        InDomainInverter, "invert", lambda *a, **k: (measure(*a, **k), found.pop())[1]
    )
    words = ["task=reconstruction", "n=600", "data.test=1_300", "batch_size=auto", "trainer=auto"]
    words += ["metric.names=[mse]", "inversion.steps=2", f"system.outputs={tmp_path}"]
    (record,) = go(*words, f"system.cache={tmp_path / 'cache'}")
    assert 1 < record.batch_size <= batch_size.MOST
    assert max(peaks) <= few
