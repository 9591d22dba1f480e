"""Shared code of the benchmarks: alternating turns, medians, tables, machine facts, output."""

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from idinvert.cli.devices import keep_freed_memory
from idinvert.evaluation.provenance import commit


@dataclass
class Times:
    """Seconds of every counted step of one variant.

    Attributes:
        name: The difference of the variant.
        images: Images per step.
        wall: Wall-clock time.
        cpu: CPU time of this process, all threads; other programs on the machine do not count.
        peak_mb: Peak device memory, MiB; None on the CPU, where only the process's total is
            known.
        error: The reason if there are no times.
    """

    name: str
    images: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    error: str | None = None


@dataclass
class Variant:
    """One of several ways to do the same work.

    Attributes:
        name: The difference of the variant.
        images: Images per step.
        steps: Runs some steps and returns (wall, cpu) seconds of each counted step.
    """

    name: str
    images: int
    steps: Callable[[], Sequence[tuple[float, float]]]


def arguments(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Returns a parser with the options of every benchmark."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=layout)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU")
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds; each is one turn")
    parser.add_argument("--json", type=Path, help="write every single time to this file")
    parser.add_argument("--record", type=Path, help="append each figure to this file, a line each")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for the programs")
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Sets threads and memory as the programs do."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()


def numbers(words: str) -> list[int]:
    """Parses the value of an option such as ``--batch 1,8,50``."""
    return [int(word) for word in words.split(",")]


def timed(work: Callable[[], Any], device: str) -> tuple[float, float]:
    """Returns (wall, CPU) seconds of one call, including all work queued on the device."""
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def side_by_side(variants: Sequence[Variant], *, repeats: int, device: str) -> list[Times]:
    """Runs the variants alternately, in one order and then in reverse, after one warm-up turn.

    A machine that slows down slows all of them. A variant that fails is dropped with the reason.
    """
    found = [Times(variant.name, variant.images) for variant in variants]
    for turn in range(repeats + 1):
        pairs = list(zip(variants, found, strict=True))
        for variant, times in pairs if turn % 2 else reversed(pairs):
            if times.error is None:
                _take_turn(variant, times, counts=turn > 0, device=device)
    return found


def _take_turn(variant: Variant, times: Times, *, counts: bool, device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        seconds = variant.steps()
    except Exception as error:  # anything a compiler or device raises belongs in the table
        lines = [line for line in str(error).splitlines() if line.strip()]
        times.error = f"{type(error).__name__}: {lines[0] if lines else ''}"[:90]
        return
    if device == "cuda":
        times.peak_mb = max(times.peak_mb or 0.0, torch.cuda.max_memory_allocated() / 2**20)
    if counts:
        times.wall += [wall for wall, _ in seconds]
        times.cpu += [cpu for _, cpu in seconds]


def table(found: Sequence[Times], *, device: str) -> str:
    """Returns one line per variant: medians, and the ratio to the first variant, step by step.

    The ratio is of CPU seconds per image on the CPU, and of wall seconds per image elsewhere.
    """
    width = max(len(times.name) for times in found)
    head = f"{'variant':{width}}  images  ms/step  CPU ms/step  images/s  MiB   ratio (min to max)"
    lines = [head]
    for times in found:
        if times.error is not None or not times.wall:
            lines.append(f"{times.name:{width}}  — {times.error}")
            continue
        wall, cpu = statistics.median(times.wall), statistics.median(times.cpu)
        memory = f"{times.peak_mb:.0f}" if times.peak_mb is not None else "—"
        ratios = _ratios(times, found[0], device=device)
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(
            f"{times.name:{width}}  {times.images:6d}  {wall * 1e3:7.1f}  {cpu * 1e3:11.1f}  "
            f"{times.images / wall:8.1f}  {memory:4s}  {shown if ratios else '—'}"
        )
    return "\n".join(lines)


def _ratios(times: Times, first: Times, *, device: str) -> list[float]:
    mine, theirs = (times.cpu, first.cpu) if device == "cpu" else (times.wall, first.wall)
    pairs = zip(mine, theirs, strict=False)
    return [a / times.images / (b / first.images) for a, b in pairs] or [float("nan")]


def machine(device: str) -> dict[str, Any]:
    """Returns facts about the machine on which a value was measured."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def processor() -> str:
    """Returns the CPU's name, if Linux provides it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def report(found: Sequence[Times], options: argparse.Namespace, **more: Any) -> None:
    """Prints the machine and the table, and writes the file given by ``--json``."""
    here = machine(options.device)
    print(", ".join(f"{key} {value}" for key, value in here.items()))
    print(table(found, device=options.device))
    for times in found:
        if times.wall:
            wall, cpu = statistics.median(times.wall), statistics.median(times.cpu)
            ratios = _ratios(times, found[0], device=options.device)
            row = {"what": Path(sys.argv[0]).name, "variant": times.name, "images": times.images}
            row |= {"seconds": wall, "cpu_seconds": cpu, "repeats": len(times.wall)}
            row |= {"ratio": statistics.median(ratios), "lowest": min(ratios)}
            keep(row | {"highest": max(ratios), **more}, options)
    if options.json is not None:
        times = [asdict(each) for each in found]
        record = {"machine": here, "overrides": options.overrides, "times": times, **more}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def keep(row: dict[str, Any], options: argparse.Namespace) -> None:
    """Appends a value, with its conditions, to the file given by ``--record``."""
    if options.record is None:
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts = {"overrides": options.overrides, "created": now, "commit": commit()}
    with options.record.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | facts | machine(options.device)) + "\n")


def wait(device: str) -> None:
    """Waits until all work queued on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
