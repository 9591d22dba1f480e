"""Run identity changes with the science and with nothing else."""

from idinvert.config.compose import compose_plain
from idinvert.config.identity import (
    BUILT_WITH,
    MOVED,
    digest_of,
    evaluation_identity,
    run_identity,
    scientific_config,
)

CONTENTS = {"data": "d" * 16, "generator": "g" * 16}


def identity(*overrides: str, contents: dict[str, str] = CONTENTS, group: int = 32) -> str:
    config = compose_plain("train", list(overrides))
    return run_identity(scientific_config(config, contents=contents, batch_norm_group=group))


def test_science_changes_the_identity():
    base = identity()
    for override in (
        "seed=1",
        "batch_size=16",
        "objective.lambda_adv=0.2",
        "encoder.backbone.variant=v1",
        "trainer.precision=bf16-mixed",
        "system.tf32=true",
        "latent=w",
        "scale.lr=1e-4",
        "scale.encoder_channels=16",
    ):
        assert identity(override) != base, override
    assert identity(group=16) != base
    assert identity(contents=CONTENTS | {"generator": "h" * 16}) != base


def test_where_how_long_and_on_what_do_not():
    base = identity()
    for override in (
        "nimg=1000",
        "max_seconds=10",
        "trainer.devices=4",
        "trainer=cpu",
        "logger=wandb_offline",
        "system.outputs=elsewhere",
        "system.num_workers=4",
        "system.cache=elsewhere",
        "checkpoint.keep=9",
        "logging.every_nimg=64",
        "generator.path=elsewhere",
        "attributes.path=elsewhere",
        "scale.n_test=7",
        "scale.log_every_nimg=64",
    ):
        assert identity(override) == base, override


def test_a_number_is_one_however_it_is_typed():
    assert digest_of({"lambda_dom": 2, "to": [1.0]}) == digest_of({"to": [1], "lambda_dom": 2.0})
    assert digest_of({"lambda_dom": 2.5}) != digest_of({"lambda_dom": 2})
    assert digest_of({"on": True}) != digest_of({"on": 1})
    assert digest_of([float("inf"), float("nan")]) == digest_of([float("inf"), float("nan")])


def test_a_class_that_moved_makes_no_other_run():
    def of(target):
        config = {"perceptual": {"network": {"_target_": target}}}
        return run_identity(scientific_config(config, contents={}, batch_norm_group=None))

    for before, after in MOVED.items():
        assert of(f"{before}X") == of(f"{after}X")


def test_later_keys_without_a_value_leave_runs_their_identity():
    def identity(**data):
        node = {"_target_": "idinvert.data.folder.image_folder", "val": 100, **data}
        config = {"data": node, "generator": {"path": "x", **dict.fromkeys(BUILT_WITH)}}
        return run_identity(
            scientific_config(config, contents={"data": "d"}, batch_norm_group=None)
        )

    before = identity(split={"kind": "order", "test": 500})
    now = {"kind": "order", "train": None, "test": 500, "seed": None, "val": None}
    assert identity(split=now, megapixels=None) == before
    assert identity(split=now | {"train": 3}, megapixels=None) != before
    assert identity(split=now, megapixels=200) != before


def test_a_later_key_without_a_value_leaves_evaluations_their_identity():
    def identity(**later):
        return evaluation_identity({"metric": {"names": ["mse"], **later}}, contents={})

    assert identity(prc_vgg16_path=None) == identity()
    assert identity(prc_vgg16_path="vgg16.pth") != identity()
