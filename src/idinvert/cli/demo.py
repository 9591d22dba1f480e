"""``make demo``: the whole method on the shipped weights, in a few minutes, without a network."""

import copy
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idinvert.checkpoints.bundle import find_weights
from idinvert.cli.app import given_keys, quieten_lightning
from idinvert.cli.brought import with_run
from idinvert.cli.evaluate import records_path, run_task
from idinvert.cli.setup import Setup, open_setup
from idinvert.cli.train import train
from idinvert.config.compose import compose_plain
from idinvert.config.instantiate import build
from idinvert.data.convert import to_float
from idinvert.editing.directions import load_directions
from idinvert.editing.interpolate import interpolate
from idinvert.editing.manipulate import manipulate
from idinvert.evaluation.pictures import grid
from idinvert.inversion.encoder import EncoderInverter
from idinvert.results.fill import fill
from idinvert.results.markdown import to_markdown
from idinvert.results.record import Record
from idinvert.results.store import read_records
from idinvert.results.table import table_from_dict
from idinvert.tracking.curves import draw_losses

OUT = Path("outputs/demo")
DATA = ["data.skip=50000"]  # train on 15,000 faces, so as to render no more; test images as ever
SECONDS = 180
IMAGES = 64
SHOWN = 8
STEPS = (0.0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0)
ALPHAS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
EDITS = ("eyeglasses", "pose", "age")


def main(*, seconds: float = SECONDS, images: int = IMAGES) -> None:
    """Trains a fresh encoder, inverts held-out images, edits them, and says what it made.

    Args:
        seconds: Training time of the fresh encoder.
        images: Held-out images that are inverted and measured.
    """
    began = time.monotonic()
    quieten_lightning()
    shutil.rmtree(OUT, ignore_errors=True)
    _say(f"1/4  training a fresh domain-guided encoder for {seconds:.0f} s (Sec. 3.1)")
    run = train(_training(seconds))
    fresh = f"run={run}"

    _say(f"2/4  inverting {images} held-out images: encoder alone, then Eq. 4 (Sec. 3.2)")
    records = []
    for source in (fresh, None):
        for inversion in ("encoder", "in_domain"):
            records += run_task(_evaluation(source, inversion, images))

    _say("3/4  drawing")
    setup = open_setup(_evaluation(None, "in_domain", images))
    targets = _targets(setup)
    codes = _draw_reconstructions(
        setup, open_setup(_evaluation(fresh, "in_domain", images)), targets
    )
    _draw_edits(setup, codes)
    draw_losses(run, OUT / "losses.png")

    _say("4/4  the table")
    table = _table(records)
    (OUT / "table.md").write_text(table, encoding="utf-8")
    print(table)
    _close(run, seconds=time.monotonic() - began)


def _training(seconds: float) -> dict[str, Any]:
    overrides = [*DATA, f"system.outputs={OUT}", f"max_seconds={seconds}"]
    often = ["logging.every_nimg=256", "logging.validate_every_nimg=4096"]
    return compose_plain("train", ["experiment=domain_guided", *overrides, *often])


def _evaluation(source: str | None, inversion: str, images: int) -> dict[str, Any]:
    overrides = [*DATA, f"system.outputs={OUT}", f"inversion={inversion}", f"n={images}"]
    config = compose_plain("evaluate", [*overrides, *([source] if source else [])])
    return with_run(config, given=given_keys(overrides))


def _targets(setup: Setup) -> Tensor:
    test = build(setup.config["data"], key="data").test
    return to_float(torch.stack([test[index]["image"] for index in range(SHOWN)]))


def _draw_reconstructions(shipped: Setup, fresh: Setup, targets: Tensor) -> Tensor:
    """Input, then each encoder alone and with in-domain inversion; returns the shipped codes."""
    rows, labels = [targets], ["input"]
    for name, setup in (("fresh", fresh), ("shipped", shipped)):
        assert setup.encoder is not None  # both stand on an encoder
        alone = EncoderInverter(encoder=setup.encoder)
        first = alone.invert(targets, generator=setup.generator)
        found = setup.inverter.invert(targets, generator=setup.generator)
        rows += [first.images, found.images]
        labels += [f"{name} encoder", f"{name} in-domain"]
    grid([list(row) for row in rows], labels=labels).save(OUT / "reconstructions.png")
    return found.codes


@torch.no_grad()
def _draw_edits(setup: Setup, codes: Tensor) -> None:
    """Interpolations between inverted images, and attribute edits of inverted images (Eq. 5)."""
    generator = setup.generator
    path = find_weights(setup.config["generator"]["path"], role="directions", key="generator.path")
    directions = load_directions(
        path,
        num_layers=generator.num_layers,
        w_dim=generator.w_dim,
        generator=setup.origin.checkpoints["generator"],
    )
    rows, labels = [], []
    for a, b in ((0, 1), (2, 3)):
        between = interpolate(codes[a : a + 1], codes[b : b + 1], STEPS)[0]  # [S, L, w_dim]
        rows.append(list(generator.synthesis(between, noise="const")))
        labels.append(f"image {a} to {b}")
    for index, name in enumerate(EDITS):
        edited = manipulate(codes[index + 1 : index + 2], directions[name], ALPHAS)[0]
        rows.append(list(generator.synthesis(edited, noise="const")))
        labels.append(f"{name} -3 to +3")
    grid(rows, labels=labels).save(OUT / "edits.png")


def _table(records: list[Record]) -> str:
    """Table 1's two rows of ours, once for each encoder, beside the printed figures."""
    config = compose_plain("evaluate", ["table=table1_methods"])
    spec = copy.deepcopy(config["table"])
    spec["groups"] = [group for group in spec["groups"] if group["label"] == "Face"]
    # The demo's generator is the shipped one, of whatever kind, and E's offset what fits it.
    spec["where"] = _but(spec["where"], "generator")
    rows = []
    for row in spec["rows"]:
        if "printed" not in row:
            continue  # not the paper's
        row["printed"] = {"Face": row["printed"]["Face"]}
        if row["where"].get("choices.inversion.steps") == 1000:
            continue  # a quarter of an hour that the demo has not
        if row["where"].get("choices.objective") != "domain_guided":
            rows.append(row)
            continue
        runs = list(dict.fromkeys(record.run for record in records))
        for name, run in zip(("fresh", "shipped"), runs, strict=True):
            where = _but(row["where"], "offset") | {"run": run}
            rows.append(row | {"label": f"{row['label']}, {name}", "where": where})
    spec["rows"] = rows
    table = table_from_dict(spec, scale=config["scale"]["name"])
    return to_markdown(fill(table, read_records(records_path({"system": {"outputs": OUT}}))))


def _but(where: dict[str, Any], word: str) -> dict[str, Any]:
    """The clauses that do not speak of `word`."""
    return {path: wanted for path, wanted in where.items() if word not in path}


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _close(run: Path, *, seconds: float) -> None:
    made = {
        "table.md": "the figures, beside the paper's Table 1",
        "reconstructions.png": "input, each encoder alone, each with in-domain inversion",
        "edits.png": "interpolations and attribute edits of inverted images",
        "losses.png": "the fresh encoder's losses over images seen",
    }
    print(f"\nDone in {seconds / 60:.1f} minutes. Look at:")
    for name, what in made.items():
        print(f"  {OUT / name}: {what}")
    print(
        "\nWhat to try next (python is .venv/bin/python after make):\n"
        f"  python train.py run={run} max_seconds=null          # train the fresh encoder on\n"
        "  python evaluate.py task=invert images=FOLDER        # invert images of your own\n"
        "  python evaluate.py inversion.lambda_dom=0           # what the regulariser is worth\n"
        "  python evaluate.py data=towers_mini n=16            # another domain, shipped too\n"
        "  python evaluate.py table=table1_methods records=experiments/table1_methods "
        "evaluate_missing=false   # Table 1 as it was measured"
    )


if __name__ == "__main__":
    main()
