"""Every figure that a validation logs is the mean over all images, however ranks share them."""

import warnings
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

from idinvert.cli.assemble import Parts, assemble
from idinvert.cli.devices import quieten_lightning
from idinvert.config.compose import compose_plain, config_dir
from idinvert.data.convert import to_float
from idinvert.data.datamodule import ImageDataModule
from idinvert.errors import ConfigError
from idinvert.training.callbacks.recalibrate import Recalibration

from .test_assemble import TINY, trained  # noqa: F401

OBJECTIVES = sorted(path.stem for path in (config_dir() / "objective").glob("*.yaml"))
WITHOUT = "gan"
"""The objective with nothing to validate by."""
IMAGES = 5  # 3 and 2 of two ranks, 2, 2 and 1 of three; in batches of 2


def parts_of(objective: str, generator: str, *more: str) -> Parts:
    experiment = (config_dir() / "experiment" / f"{objective}.yaml").is_file()
    words = [f"{'experiment' if experiment else 'objective'}={objective}"]
    if objective in ("attributes", "segmenter"):
        words.append(f"{objective}.width=8")
    elif objective != WITHOUT:
        words += ["generator=checkpoint", generator, "perceptual=none"]
    return assemble(compose_plain("train", [*words, *TINY, f"data.val={IMAGES}", *more]))


def validated(parts: Parts, *, ranks: int, recalibrate: int = 0) -> dict[str, float]:
    """What a Trainer with so many processes says of the module."""
    strategy = {"strategy": "ddp_fork"} if ranks > 1 else {}
    data = ImageDataModule(domain=parts.domain, batch_size=6, seed=0, eval_batch_size=2)
    with warnings.catch_warnings():
        quieten_lightning()
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=ranks,
            precision="64-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[Recalibration(images=parts.domain.train, count=recalibrate, seed=0)],
            **strategy,
        )
        trainer.validate(parts.module, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_figure_of_two_and_of_three_ranks_is_that_of_one(
    trained,  # noqa: F811
    objective,
):
    parts = parts_of(objective, trained)
    assert is_overridden("validation_step", parts.module) is (objective != WITHOUT)
    if objective == WITHOUT:
        return
    alone = validated(parts, ranks=1)
    assert alone
    for ranks in (2, 3):
        assert validated(parts, ranks=ranks) == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("objective", ["paper", "conventional"])
def test_ranks_estimate_the_statistics_that_one_would(trained, objective):  # noqa: F811
    parts = parts_of(objective, trained, "data.train=250")
    training, alone = validated(parts, ranks=1), validated(parts, ranks=1, recalibrate=250)
    assert alone["val/mse"] != pytest.approx(training["val/mse"], rel=1e-3)
    for ranks in (2, 3):  # of two parts of 125: one each; one each, and none
        found = validated(parts, ranks=ranks, recalibrate=250)
        assert found == pytest.approx(alone, rel=1e-9)


def test_the_error_is_the_mean_over_all_pixels_of_all_images(trained):  # noqa: F811
    parts = parts_of("domain_guided", trained)
    found = validated(parts, ranks=1)
    module: Any = parts.module.double().eval()
    x = to_float(torch.stack([parts.domain.val[i]["image"] for i in range(IMAGES)])).double()
    with torch.no_grad():
        y = module.generator.synthesis(module.encoder(x), noise="const").clamp(-1, 1)
        mean = module.generator.synthesis(module.generator.w_avg[None], noise="const").clamp(-1, 1)
    assert found["val/mse"] == pytest.approx(float(((x - y) ** 2).mean()), rel=1e-12)
    floor = float(((x - mean) ** 2).mean())
    assert found["val/mse_of_mean_image"] == pytest.approx(floor, rel=1e-12)


def test_a_device_without_validation_images_is_refused(trained):  # noqa: F811
    two = ("trainer=ddp_cpu", "batch_size=8")
    with pytest.raises(ConfigError, match=r"1 validation image.*2 devices.*data\.val=0"):
        parts_of("domain_guided", trained, *two, "data.val=1")
    for count in (0, 2):
        assert parts_of("domain_guided", trained, *two, f"data.val={count}")


def test_a_figure_that_is_not_a_number_is_not_left_out(trained):  # noqa: F811
    parts = parts_of("domain_guided", trained)
    with torch.no_grad():
        parts.module.encoder.norm.bias[0] = float("nan")
    assert validated(parts, ranks=1)["val/mse"] != validated(parts, ranks=1)["val/mse"]
