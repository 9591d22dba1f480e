"""Task: re-estimate the BatchNorm statistics of an encoder, without training."""

from typing import Any

import torch

from idinvert.annotations import PositiveInt
from idinvert.checkpoints.release import save_network
from idinvert.data.convert import to_float
from idinvert.data.datamodule import collate, permutation
from idinvert.data.domain import Domain, prepare
from idinvert.errors import ConfigError
from idinvert.evaluation import networks as wire
from idinvert.evaluation.context import EvaluationContext
from idinvert.evaluation.provenance import command, commit
from idinvert.networks import batch_norm
from idinvert.results.record import Record


def recalibrate_encoder(context: EvaluationContext, *, images: PositiveInt) -> list[Record]:
    """Writes an encoder whose BatchNorm statistics are estimated on training images.

    This is for weights of older versions, whose training did not do this
    (`training.callbacks.recalibrate`), and for other numbers of images. Weights, run and choices do
    not change.

    Args:
        context: Its ``encoder.path``, and ``data``.
        images: Number of images, the first of the run's epoch 0, not mirrored.

    Raises:
        ConfigError: The encoder has no BatchNorm, was trained on other or synthetic images, or
            ``images`` is less than 2.
    """
    if images < 2:
        raise ConfigError(f"got task.images={images}, expected 2 or more: one has no variance.")
    encoder, provenance = wire.load_encoder(context.config["encoder"] or {}, {})
    encoder.eval()
    domain = context.open_images()
    _require_images(encoder, provenance, domain)
    order = permutation(len(domain.train), seed=provenance.get("seed", 0), epoch=0)  # type: ignore[arg-type]
    order, parts = order[:images], batch_norm.batches(min(images, len(order)))
    prepare(domain.train, order.tolist())  # only these, not the whole split
    inputs = (
        to_float(collate([domain.train[int(order[i])] for i in part])["image"]) for part in parts
    )
    with torch.no_grad():
        sums = batch_norm.sum_of_statistics(encoder, encoder, inputs)
    batch_norm.set_statistics(encoder, batch_norm.mean_of(sums, len(parts)))
    run = provenance.get("run", "encoder")
    out = context.outputs / "evaluations" / run / "recalibrated"
    out.mkdir(parents=True, exist_ok=True)
    facts = {"images": len(order), "command": command(), "commit": commit()}
    facts = provenance | {"recalibrated": facts}
    save_network(encoder, out / "encoder.safetensors", provenance=facts, role="encoder")
    print(f"statistics of {len(order):,} images of {domain.name}: {out / 'encoder.safetensors'}")
    return []


def _require_images(encoder: Any, provenance: dict[str, Any], domain: Domain) -> None:
    """Refuses an encoder without BatchNorm, and images on which it was not trained.

    Raises:
        ConfigError: Says what to give instead.
    """
    if not batch_norm.batch_norms(encoder):
        raise ConfigError("the encoder has no BatchNorm, and so no statistics; give another one.")
    objective = provenance.get("choices", {}).get("objective", {})
    if objective.get("name") == "conventional":
        raise ConfigError(
            "the conventional encoder learned from synthetic images and has never seen a real one; "
            "train it (objective=conventional), which estimates its statistics on its own kind."
        )
    theirs = provenance.get("data_fingerprint", domain.fingerprint)
    if theirs != domain.fingerprint:
        raise ConfigError(
            f"the encoder learned from {provenance.get('data')} ({theirs}), and data={domain.name} "
            f"is {domain.fingerprint}: its statistics would be of other images. Give its data."
        )
