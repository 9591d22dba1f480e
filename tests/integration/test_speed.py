"""The benchmarks of experiments/speed, each in its smallest form; no times are judged."""

import json
import os
import runpy
import shlex
import subprocess
import sys

import pytest

from idinvert.config.compose import compose_plain, config_dir, expand_sweep
from idinvert.inversion.optimizers import OPTIMIZERS

FOLDER = config_dir().parent / "experiments" / "speed"
SMALL = ["scale.channels=[8,8,8,8]", "scale.batch_size=4"]
CASES = {
    "train_step.py": [
        *("--repeats", "1", "--steps", "1", "--versus", "accumulate=2"),
        *("experiment=gan", "generator=stylegan2", *SMALL),
    ],
    "inversion.py": ["--repeats", "1", "--steps", "1", "--batch", "1,2", "inversion=in_domain"],
    "data.py": ["--repeats", "1", "--images", "16", "--batches", "1", "--workers", "0", *SMALL],
    "metrics.py": ["--repeats", "1", "--pairs", "8"],
    "start.py": ["--repeats", "1", "--only", "import torch"],
}


def run(
    script: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> str:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, *words])
    try:
        runpy.run_path(str(FOLDER / script), run_name="__main__")
    finally:
        for name in ("bench", "shares", "train_step"):
            sys.modules.pop(name, None)
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("script", CASES)
def test_a_benchmark_prints_a_table_and_writes_its_times(script, tmp_path, monkeypatch, capsys):
    path = tmp_path / "times.json"
    printed = run(script, ["--json", str(path), *CASES[script]], monkeypatch, capsys)
    assert "ms/step" in printed and "torch" in printed
    written = json.loads(path.read_text())
    done = [times for times in written["times"] if times["error"] is None]
    assert done and all(len(times["wall"]) >= 1 and min(times["wall"]) > 0 for times in done)
    assert written["machine"]["threads"] == 1


@pytest.mark.slow
def test_the_optimisers_are_compared_and_recorded(tmp_path, monkeypatch, capsys):
    path = tmp_path / "optimizers.jsonl"
    words = ["--n", "2", "--batch", "2", "--steps", "20", "--record", str(path)]
    printed = run("optimizers.py", [*words, "inversion=in_domain"], monkeypatch, capsys)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == len(printed.splitlines()) and lines[0]["way"] == "adam"
    assert {line["choices"].get("optimizer", "adam") for line in lines} == set(OPTIMIZERS) - {"sgd"}
    for line in lines:
        assert line["n"] == 2 and line["gflops_per_evaluation"] > 0 and line["torch"]
        assert line["steps"] < 10 or line["loss_median_ratio"]["10"] > 0
    assert lines[0]["evaluations_p90"] <= 21


@pytest.mark.slow
def test_images_that_stop_early_are_counted(tmp_path, monkeypatch, capsys):
    path = tmp_path / "early_stop.jsonl"
    words = ["--batch", "3", "--batches", "2", "--record", str(path), "inversion.steps=12"]
    words += ["inversion.early_stop=2", "inversion.early_stop_gain=0.05"]
    run("early_stop.py", words, monkeypatch, capsys)
    leave, last, enter = (json.loads(line) for line in path.read_text().splitlines())
    assert last["evaluations"] > leave["evaluations"] == enter["evaluations"] >= 6 * 3
    assert last["evaluations_ratio"] == 1 > enter["evaluations_ratio"] and enter["commit"]
    assert leave["loss_mean"] == pytest.approx(enter["loss_mean"], rel=1e-3)


@pytest.mark.slow
def test_two_processes_share_a_batch(tmp_path, monkeypatch, capsys):
    record = tmp_path / "records.jsonl"
    words = ["--images", "24", "--repeats", "1", "--record", str(record), "batch_size=4"]
    words += ["data.train=24", "scale.encoder_channels=8", "scale.encoder_channels_max=16"]
    run("ranks.py", [*words, f"system.cache={tmp_path / 'cache'}"], monkeypatch, capsys)
    alone, strong, weak = (json.loads(line) for line in record.read_text().splitlines())
    assert [row["ranks"] for row in (alone, strong, weak)] == [1, 2, 2]
    assert (alone["images"], strong["images"], weak["images"]) == (4, 4, 8)
    assert alone["speedup"] == 1 and min(strong["speedup"], weak["speedup"]) > 0
    assert strong["first_losses_apart"] < 1e-4


@pytest.mark.slow
def test_shares_name_every_network_and_add_up(monkeypatch, capsys):
    words = ["--repeats", "1", "--batch", "2", "--steps", "1", "inversion=in_domain"]
    printed = run("inversion.py", words, monkeypatch, capsys)
    line = printed.strip().splitlines()[-1].split(": ", 1)[1]
    found = {part.split()[0]: int(part.split()[1]) for part in line.split(", ")}
    assert set(found) == {"E", "G", "F", "rest"}
    assert 98 <= sum(found.values()) <= 102
    assert all(found[letter] > 5 for letter in "EGF")


@pytest.mark.slow
def test_full_scale_measures_every_stage(tmp_path, monkeypatch, capsys):
    record = tmp_path / "records.jsonl"
    words = [
        *("--repeats", "1", "--steps", "4", "--train-steps", "1", "--batch", "2"),
        *("--variants", "usual,eager,graphs+checkpoint", "--pairs", "4", "--side", "32"),
        *("--record", str(record)),
        *("scale.resolution=16", "scale.channels=[8,8,8]"),
        *("scale.encoder_channels=8", "scale.encoder_channels_max=16"),
    ]
    run("full_scale.py", words, monkeypatch, capsys)
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert not [row for row in rows if "error" in row]
    seen = {row["what"] for row in rows}
    of_both = {
        f"{what}, {way}"
        for what in ("inversion", "encoder training", "GAN training")
        for way in ("eager", "graphs+checkpoint")
    }
    assert seen == {"matmul", "inversion, as usual", *of_both, "SWD", "FID"}
    assert all(row["seconds"] > 0 and row["torch"] and row["commit"] for row in rows)


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_a_cpu_in_its_smallest_form(tmp_path):
    script = config_dir().parent / "experiments" / "gpu" / "run.sh"
    knobs = {"DEVICE": "cpu", "SMALL": "1", "TEST_PROCESSES": "1"}
    knobs["ONLY"] = "gan-faces64-stylegan2|towers-ceiling"
    environment = os.environ | knobs | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = ["bash", str(script), str(tmp_path)]
    for word in ("done in", "done before"):  # the second call finds all stages done
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        lines = ended.stdout.splitlines()
        assert len(lines) == 5 and all(word in line for line in lines), ended.stdout
    assert (tmp_path / "speed.jsonl").is_file() and list(tmp_path.rglob("generator.safetensors"))
    wrong = subprocess.run([*command, "test"], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2 and "unknown stage test" in wrong.stderr


def lines_for_a_gpu(kind):
    lines = (config_dir().parent / "experiments" / "gpu" / f"{kind}.txt").read_text().splitlines()
    named = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    assert len({name for name, *_ in named}) == len(named) >= 5
    return named


def test_every_training_for_a_gpu_composes():
    for name, *words in lines_for_a_gpu("trainings"):
        from_scratch = 1_200_000 if "-seed" in name else 2_000_000
        nimg = from_scratch if name.startswith("gan-") else 200_000
        assert compose_plain("train", words)["nimg"] == nimg


def test_every_evaluation_for_a_gpu_composes():
    for _, *words in lines_for_a_gpu("evaluations"):
        assert compose_plain("evaluate", expand_sweep(words)[-1])["n"] == 5000
