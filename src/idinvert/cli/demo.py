"""``make demo``: shows the whole method in a few minutes, without internet access."""

import contextlib
import copy
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from idinvert.checkpoints.bundle import find_weights
from idinvert.cli.devices import quieten_lightning
from idinvert.cli.evaluate import records_path, run_task
from idinvert.cli.run_defaults import with_run
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain, given_keys
from idinvert.config.instantiate import build
from idinvert.data.convert import to_float
from idinvert.data.domain import prepare
from idinvert.durable import write
from idinvert.editing.directions import Direction, load_directions
from idinvert.editing.edits import interpolate, manipulate
from idinvert.errors import as_typed
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.pictures import grid
from idinvert.inversion.encoder import EncoderInverter
from idinvert.results.cells import filled
from idinvert.results.parse import described
from idinvert.results.record import Record, read_records
from idinvert.results.render import page
from idinvert.tracking.pictures import draw_losses, save_picture

OUT = Path("outputs/demo")
FIRST = OUT / "first.png"
LOG = OUT / "log.txt"
DATA = ["data.skip=50000"]  # trains on 15,000 faces to save rendering; the test images are the same
FIRST_RESOLUTION = 64
"""R of the first two pictures, in pixels. Training and metrics use 32 px, for speed."""
SECONDS = 180
IMAGES = 64
SHOWN = 8
STEPS = (0.0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)
ALPHAS = (-2.0, -4 / 3, -2 / 3, 0.0, 2 / 3, 4 / 3, 2.0)
EDITS = {"eyeglasses": -2.0, "gender": -2.0, "age": 3.0}
"""Directions, and the α of Eq. 5 in the first picture."""
METHODS = {"encoder": "encoder alone", "in_domain": "in-domain"}
COLUMNS = {
    "mse": "MSE ↓",
    "ssim": "SSIM ↑",
    "swd": "SWD ↓",
    "agreement_eyeglasses": "glasses ↑",
    "correlation_smile": "smile ↑",
}
"""Metrics that the console shows; the records contain all."""
OURS = ("inversion=encoder", "inversion=in_domain")


def main(*, seconds: float = SECONDS, images: int = IMAGES) -> None:
    """Shows results of a trained encoder, trains a new one, and compares it with the shipped one.

    Args:
        seconds: Training time of the new encoder.
        images: Number of held-out images that are inverted and measured.
    """
    began = time.monotonic()
    quieten_lightning()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)

    _say("1/4  a trained encoder: invert held-out images, edit them (Sec. 3)")
    more = [f"scale.resolution={FIRST_RESOLUTION}"]
    large = EvaluationContext(_evaluation(None, "in_domain", images, test=SHOWN, more=more))
    targets = _targets(large)
    rows, codes = _reconstructed("trained", large, targets)
    _draw_first(large, targets, rows, codes)
    _draw_edits(large, codes)
    print(f"after {time.monotonic() - began:.0f} s: look at {FIRST} and {OUT / 'edits.png'}")

    _say(f"2/4  training a fresh domain-guided encoder for {seconds:.0f} s (Sec. 3.1)")
    with _to_log():
        run = train(_training(seconds))
    draw_losses(run, OUT / "losses.png")
    fresh = f"run={run}"

    _say(f"3/4  measuring both on {images} held-out images: encoder alone, then Eq. 4 (Sec. 3.2)")
    records = {}
    for name, source in (("fresh", fresh), ("shipped", None)):
        for inversion, method in METHODS.items():
            with _to_log():
                (record,) = run_task(_evaluation(source, inversion, images))
            records[f"{name}, {method}"] = record

    _say("4/4  the results")
    both: dict[str, Tensor] = {}
    for name, source in (("fresh", fresh), ("shipped", None)):
        setup = EvaluationContext(_evaluation(source, "in_domain", images))
        targets = _targets(setup)
        both |= {"input": targets, **_reconstructed(name, setup, targets)[0]}
    _draw(both, "reconstructions.png")
    write(OUT / "table.md", _table(list(records.values())))
    _print(records)
    _close(run, seconds=time.monotonic() - began)


def _training(seconds: float) -> dict[str, Any]:
    overrides = [*DATA, f"system.outputs={OUT}", f"max_seconds={seconds}"]
    often = ["logging.every_nimg=256", "logging.validate_every_nimg=4096"]
    return compose_plain("train", ["experiment=domain_guided", *overrides, *often])


def _evaluation(
    source: str | None,
    inversion: str,
    images: int,
    *,
    test: int | None = None,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    overrides = [*DATA, f"system.outputs={OUT}", f"inversion={inversion}", f"n={images}", *more]
    if test is not None:  # the first test images only, without rendering the others
        overrides += [f"data.test={test}", f"n={test}"]
    config = compose_plain("evaluate", [*overrides, *([source] if source else [])])
    return with_run(config, given=given_keys(overrides))


def _targets(setup: EvaluationContext) -> Tensor:
    test = build(setup.config["data"], key="data").test
    prepare(test, range(SHOWN))  # otherwise reading the first image renders the whole split
    return to_float(torch.stack([test[index]["image"] for index in range(SHOWN)]))


def _reconstructed(
    name: str, setup: EvaluationContext, targets: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Inverts by the encoder alone and in-domain: images, and the codes of the latter [N, L, D]."""
    assert setup.encoder is not None  # both setups have an encoder
    alone = EncoderInverter(encoder=setup.encoder)
    first = alone.invert(targets, generator=setup.generator)
    found = setup.inverter.invert(targets, generator=setup.generator)
    rows = {f"{name} encoder": first.images, f"{name} in-domain": found.images}
    return rows, found.codes


@torch.no_grad()
def _draw_first(
    setup: EvaluationContext, targets: Tensor, reconstructed: dict[str, Tensor], codes: Tensor
) -> None:
    """Draws a row each of inputs, encoder, in-domain inversion, and one row per edit."""
    encoder, found = reconstructed.values()
    rows = {"input": targets, "encoder": encoder, "in-domain inversion": found}
    for name, direction in _directions(setup).items():
        alpha = EDITS[name]
        edited = manipulate(codes, direction, (alpha,))[:, 0]  # [N, L, D]
        rows[f"{name} {alpha:+g}"] = setup.generator.synthesis(edited, noise="const")
    _draw(rows, FIRST.name)


def _draw(rows: dict[str, Tensor], file: str) -> None:
    save_picture(OUT / file, grid([list(row) for row in rows.values()], labels=list(rows)))


def _directions(setup: EvaluationContext) -> dict[str, Direction]:
    """The edit directions that the demo shows."""
    path = find_weights(setup.config["generator"]["path"], role="directions", key="generator.path")
    found = load_directions(
        path,
        num_layers=setup.generator.num_layers,
        w_dim=setup.generator.w_dim,
        generator=setup.checkpoints["generator"],
    )
    return {name: found[name] for name in EDITS}


@torch.no_grad()
def _draw_edits(setup: EvaluationContext, codes: Tensor) -> None:
    """Draws interpolations and attribute edits (Eq. 5) of inverted images."""
    generator = setup.generator
    rows, labels = [], []
    for a, b in ((0, 1), (2, 3)):
        between = interpolate(codes[a : a + 1], codes[b : b + 1], STEPS)[0]  # [S, L, w_dim]
        rows.append(list(generator.synthesis(between, noise="const")))
        labels.append(f"image {a} to {b}")
    for index, (name, direction) in enumerate(_directions(setup).items()):
        edited = manipulate(codes[index + 1 : index + 2], direction, ALPHAS)[0]  # [S, L, w_dim]
        rows.append(list(generator.synthesis(edited, noise="const")))
        labels.append(f"{name} {ALPHAS[0]:+g} to {ALPHAS[-1]:+g}")
    save_picture(OUT / "edits.png", grid(rows, labels=labels))


def _table(records: list[Record]) -> str:
    """Renders Table 1 with our two rows for each encoder, beside the printed values."""
    config = compose_plain("evaluate", ["table=table1_methods"])
    spec = copy.deepcopy(config["table"])
    spec["groups"] = [group for group in spec["groups"] if group["label"] == "Face"]
    rows = []
    for row in spec["rows"]:
        if "printed" not in row:
            continue  # a row that is not in the paper
        row["printed"] = {"Face": row["printed"]["Face"]}
        if "inversion.steps=1000" in row["evaluate"]:
            continue  # takes a quarter of an hour
        if "experiment=conventional" in row["train"] or row["evaluate"][0] not in OURS:
            rows.append(row)
            continue
        runs = list(dict.fromkeys(record.run for record in records))
        for name, run in zip(("fresh", "shipped"), runs, strict=True):
            rows.append(row | {"label": f"{row['label']}, {name}", "where": {"run": run}})
    spec["rows"] = rows
    table = described(spec, scale=config["scale"]["name"])
    return page(filled(table, read_records(records_path({"system": {"outputs": OUT}}))))


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


@contextlib.contextmanager
def _to_log() -> Iterator[None]:
    """Redirects what train and evaluate print to a file; progress bars stay on the console."""
    with LOG.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield


def _print(records: dict[str, Record]) -> None:
    """Prints one line per method with five metrics."""
    caption = "glasses and smile: how well the attribute network reads them from the result"
    table = Table("", *COLUMNS.values(), caption=caption)
    for name, record in records.items():
        table.add_row(name, *(f"{record.metrics[metric]:.4g}" for metric in COLUMNS))
    Console().print(table)


def _close(run: Path, *, seconds: float) -> None:
    made = {
        FIRST.name: "input, encoder, in-domain inversion, edits",
        "reconstructions.png": "reconstructions by the fresh encoder and by the shipped one",
        "edits.png": "interpolations and attribute edits of inverted images",
        "losses.png": "the fresh encoder's losses over images seen",
        "table.md": "the distances and errors, beside the paper's Table 1",
        LOG.name: "what train and evaluate printed",
    }
    print(f"\nDone in {seconds / 60:.1f} minutes. Look at:")
    for name, what in made.items():
        print(f"  {OUT / name}: {what}")
    hints = (
        "\nWhat to try next (python is .venv/bin/python after make):\n"
        f"  python train.py run={run} max_seconds=null          # train the fresh encoder on\n"
        "  python evaluate.py task=invert images=FOLDER        # invert images of your own\n"
        "  python evaluate.py inversion.lambda_dom=0           # what the regulariser is worth\n"
        "  python evaluate.py data=towers_mini n=16            # another domain, shipped too\n"
        "  python evaluate.py table=table1_methods records=experiments/table1_methods "
        "evaluate_missing=false   # Table 1 as it was measured"
    )
    print(as_typed(hints))


if __name__ == "__main__":
    main()
