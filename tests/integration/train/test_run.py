"""run=RUN and the same command again: what goes on, what is refused, what does nothing."""

import shutil
from pathlib import Path

import pytest

from idinvert.cli.train import config_of_run
from idinvert.config.compose import compose_plain, given_keys
from idinvert.config.run_folder import read_config, write_config
from idinvert.errors import CheckpointError, ConfigError
from idinvert.tracking.run_files import read_status

from .runs import rows_of, same_checkpoints


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "config.yaml", "status.json", "train.log")
    }


def test_the_same_command_on_a_finished_run_does_nothing(train_tiny, capsys):
    folder = train_tiny("domain_guided", "nimg=16")
    before = snapshot(folder)
    assert any(name.startswith("weights/") for name in before)
    capsys.readouterr()
    assert train_tiny("domain_guided", "nimg=16") == folder
    assert snapshot(folder) == before
    assert read_status(folder) == {"state": "finished", "nimg": 16}
    assert "finished already, at 16 images" in capsys.readouterr().out
    # So does a run that was killed after its last checkpoint.
    (folder / "status.json").write_text('{"state": "running", "nimg": 0}')
    train_tiny("domain_guided", "nimg=16")
    assert read_status(folder) == {"state": "finished", "nimg": 16}


def test_run_goes_on_by_path_and_by_id_with_more_images_as_the_same_command_would(
    train_tiny, once, command, tmp_path
):
    expected = once("domain_guided", "nimg=48")
    folder = train_tiny("domain_guided", "nimg=16")
    outputs = f"system.outputs={tmp_path / 'outputs'}"
    assert command(f"run={folder}", "nimg=32") == folder
    assert command(f"run={folder.name[:6]}", "nimg=48", outputs) == folder
    same_checkpoints(folder, expected)
    assert rows_of(folder) == rows_of(expected)
    stored = read_config(folder)
    assert (stored["nimg"], stored["run"], stored["batch_size"]) == (48, None, 4)


@pytest.fixture
def stored(tmp_path):
    """A run that has only its configuration."""
    folder = tmp_path / "outputs" / "gan" / "0123456789"
    words = ["experiment=gan", "trainer.precision=bf16-mixed", "logging.every_nimg=7", "seed=5"]
    write_config(folder, compose_plain("train", words))
    return folder


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("seed=1", "seed"),
        ("experiment=gan", "experiment"),
        ("objective.lr=0.1", "objective"),
        ("scale=full", "scale"),
        ("data.train=32", "data"),
        ("batch_size=8", "batch_size"),
        ("latent=w", "latent"),
        ("trainer.precision=32-true", "trainer.precision"),
        ("system.tf32=true", "system.tf32"),
    ],
)
def test_what_would_make_it_another_run_is_refused_and_named(stored, word, named):
    words = [f"run={stored}", "nimg=24", word]
    with pytest.raises(ConfigError, match=rf"; {named} cannot change\.") as caught:
        config_of_run(compose_plain("train", words), given=given_keys(words))
    assert "nimg, max_seconds, accumulate, trainer, logger" in str(caught.value)


def test_what_belongs_to_the_machine_is_taken_key_by_key(stored):
    words = [
        f"run={stored}",
        "nimg=24",
        "logging.validate_every_nimg=9",
        "trainer=ddp_cpu",
        "trainer.devices=3",
        "logger=wandb_offline",
        "logger.wandb.project=mine",
    ]
    before = read_config(stored)
    config = config_of_run(compose_plain("train", words), given=given_keys(words))
    assert config["nimg"] == 24
    assert config["logging"] == before["logging"] | {"validate_every_nimg": 9}
    assert config["checkpoint"] == before["checkpoint"]
    assert config["trainer"]["devices"] == 3
    assert config["trainer"]["strategy"] == "ddp_find_unused_parameters_true"
    assert config["trainer"]["precision"] == "bf16-mixed"
    assert config["logger"]["wandb"]["offline"] is True
    assert config["logger"]["wandb"]["project"] == "mine"
    science = ("seed", "objective", "generator", "discriminator", "data", "batch_size", "scale")
    assert {key: config[key] for key in science} == {key: before[key] for key in science}


def test_a_whole_group_changes_neither_precision_nor_tf32(stored):
    config = compose_plain("train", [f"run={stored}", "trainer=cpu"])
    config["system"]["tf32"] = True  # as a system group of the user's own may have it
    found = config_of_run(
        config, given={"run": ["run"], "trainer": ["trainer"], "system": ["system"]}
    )
    assert found["trainer"]["precision"] == "bf16-mixed"
    assert found["system"]["tf32"] is False


def test_without_a_discriminator_beside_the_generator_the_keys_are_named(
    train_tiny, bundle, tmp_path
):
    alone = tmp_path / "generator.safetensors"
    shutil.copy(bundle["generator"] / "weights" / "generator.safetensors", alone)
    with pytest.raises(CheckpointError, match=r"discriminator\.init=checkpoint .*init=scratch"):
        train_tiny("domain_guided", f"generator.path={alone}")
    train_tiny("domain_guided", f"generator.path={alone}", "discriminator.init=scratch")
    train_tiny("domain_guided", f"generator.path={alone}", "objective.lambda_adv=0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("generator=stylegan2", r"trained generator.*generator=shipped"),
        ("generator.path=nowhere", r"generator\.path=nowhere does not exist"),
        ("discriminator.init=copied", r"'generator', 'checkpoint' or 'scratch'"),
        ("latent.offset=mean", r"latent\.offset=mean.*'auto', 'w_avg' or 'none'"),
        ("latent=w generator.path=MULTI_W", r"latent=w_plus"),
        ("data.resolution=16", r"data\.resolution=16 .*data\.resolution=8"),
        ("experiment=gan data.resolution=16", r"data\.resolution=8"),
        ("objective.adversarial=hinge", r"objective\.adversarial"),
        ("encoder.backbone.variant=v3", r"encoder\.backbone\.variant"),
    ],
)
def test_what_does_not_fit_is_found_before_any_work(
    overrides, command, bundle, tmp_path, words, message
):
    given = words.replace("MULTI_W", str(bundle["multi_w"])).split()
    experiment = given.pop(0).split("=")[1] if "experiment" in words else "domain_guided"
    base = overrides(experiment)
    if words.startswith("generator"):
        base = [word for word in base if not word.startswith("generator")]
    with pytest.raises((ConfigError, CheckpointError), match=message):
        command(*base, *given)
    assert not (tmp_path / "outputs").exists()


def test_labels_are_needed_to_learn_labels(train_tiny, command, tmp_path):
    from PIL import Image

    for index in range(12):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "photos" / f"{index}.png")
    words = ["data=folder", f"data.path={tmp_path / 'photos'}", "data.split.test=2", "data.val=2"]
    with pytest.raises(ConfigError, match="has no labels to learn from"):
        command("experiment=attributes", "scale.resolution=8", *words)
