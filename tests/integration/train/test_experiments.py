"""Every way of training, with every kind of network, takes two steps and leaves its weights."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from idinvert.checkpoints.release import read_header
from idinvert.config.compose import compose_plain, config_dir
from idinvert.tracking.run_files import read_status

pytestmark = pytest.mark.filterwarnings("ignore:Total length of `DataLoader`")


def weights_of(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "weights").glob("*.safetensors")}


ROLES = {
    "gan": {"generator", "discriminator"},
    "attributes": {"attributes"},
    "segmenter": {"segmenter"},
    "domain_guided": {"encoder", "discriminator"},
    "conventional": {"encoder"},
    "e4e": {"encoder", "latent_discriminator"},
    "force_in_domain": {"encoder", "discriminator", "latent_discriminator"},
}
"""What each way of training leaves in its ``weights`` folder."""
UNJUDGED = {"e4e": ["data.val=0"]}
"""One code for all layers is not past the mean code after two steps; runs are judged by that."""


@pytest.mark.parametrize("experiment", ROLES)
def test_every_way_of_training_takes_two_steps(train_tiny, experiment):
    folder = train_tiny(experiment, *UNJUDGED.get(experiment, []))
    assert read_status(folder) == {"state": "finished", "nimg": 8}
    assert weights_of(folder) == ROLES[experiment]
    for role in ROLES[experiment]:
        header = read_header(folder / "weights" / f"{role}.safetensors")
        provenance = header.provenance
        assert header.role == role
        assert provenance["nimg"] == 8 and provenance["run"] == folder.name
        json.dumps(provenance)
        if "encoder" in ROLES[experiment]:
            assert provenance["choices"]["objective"]["name"] == experiment == folder.parent.name
    assert not list(folder.rglob("*.partial"))


def test_no_way_of_training_is_forgotten():
    targets = {
        compose_plain("train", [f"objective={path.stem}"])["objective"]["_target_"].split(".")[-2]
        for path in (config_dir() / "objective").glob("*.yaml")
    }
    assert targets == set(ROLES)


GANS = [
    ("generator=stylegan2", "generator.multi_w=true"),
    ("generator=stylegan", "discriminator=stylegan"),
    ("generator=stylegan", "discriminator=stylegan", "generator.multi_w=true"),
    ("trainer.precision=bf16-mixed",),
    ("objective.style_mixing=0", "objective.ema_rampup=null", "objective.mirror=false"),
]


@pytest.mark.parametrize("more", GANS, ids="+".join)
def test_every_kind_of_gan_trains_two_steps(train_tiny, more):
    folder = train_tiny("gan", *more)
    header = read_header(folder / "weights" / "generator.safetensors")
    assert header.architecture["multi_w"] is ("generator.multi_w=true" in more)
    stylegan = "generator=stylegan" in more
    assert header.class_name == ("StyleGANGenerator" if stylegan else "StyleGAN2Generator")


ENCODERS = [
    ("latent=w",),
    ("latent=z",),
    ("latent=deltas",),
    ("encoder=resnet18",),
    ("encoder=resnet34", "encoder.backbone.norm=none"),
    ("encoder=resnet50", "encoder.backbone.norm=sync"),
    ("encoder=mobilenet", "encoder.backbone.width=0.25"),
    ("encoder=noise", "encoder.noise_blocks=2"),
    ("encoder=noise", "encoder.noise_blocks=1", "trainer.precision=bf16-mixed"),
    ("encoder=noise", "encoder.noise_blocks=0"),
    ("encoder.backbone.variant=v1",),
    ("encoder.backbone.norm=none",),
    ("encoder.backbone.norm=sync",),
    ("latent.offset=w_avg",),
    ("latent.offset=none",),
    ("objective=authors_code",),
    ("objective.adversarial=wgan",),
    ("perceptual=none",),
    ("objective.lambda_adv=0",),
    ("objective.lambda_adv=0", "perceptual=none"),
    ("discriminator.init=scratch",),
    ("objective.r1_every=16",),
    ("trainer.precision=bf16-mixed",),
]


@pytest.mark.parametrize("more", ENCODERS, ids="+".join)
def test_every_kind_of_encoder_trains_two_steps(train_tiny, more):
    folder = train_tiny("domain_guided", "data.val=0", *more)
    assert read_status(folder) == {"state": "finished", "nimg": 8}
    architecture = read_header(folder / "weights" / "encoder.safetensors").architecture
    space = {"latent=w": "w", "latent=z": "z"}.get(more[0], "w_plus")
    assert architecture["latent"] == space
    assert architecture["offset"] is ("latent.offset=none" not in more and space != "z")
    assert ("discriminator" in weights_of(folder)) is ("objective.lambda_adv=0" not in more)


@pytest.mark.parametrize("experiment", ["conventional", "e4e", "force_in_domain"])
def test_the_rivals_train_in_half_precision_and_on_stylegan(train_tiny, bundle, experiment):
    folder = train_tiny(
        experiment, "data.val=0", "trainer.precision=bf16-mixed", "objective.lr=1e-4",
        f"generator.path={bundle['stylegan']}", "latent.offset=w_avg", "discriminator.init=scratch",
    )  # fmt: skip
    assert read_status(folder) == {"state": "finished", "nimg": 8}
    assert read_header(folder / "weights" / "encoder.safetensors").architecture["offset"]


@pytest.mark.parametrize(("kind", "offset"), [("stylegan", False), ("multi_w", True)])
def test_the_offset_is_for_stylegan2_and_not_for_stylegan(train_tiny, bundle, kind, offset):
    folder = train_tiny("domain_guided", "data.val=0", f"generator.path={bundle[kind]}")
    header = read_header(folder / "weights" / "encoder.safetensors")
    assert header.architecture["offset"] is offset


def test_d_starts_from_the_gans_own_and_can_start_from_a_file(train_tiny, bundle, monkeypatch):
    """Each way of starting D gives the weights it says, and another run."""
    from idinvert.checkpoints.release import load_network
    from idinvert.training.domain_guided import DomainGuidedTraining

    starts: dict[str, Any] = {}
    build = DomainGuidedTraining.__init__

    @functools.wraps(build)  # its signature says what it is to be given
    def remember(self, **kwargs):
        weights = kwargs["discriminator"].state_dict()
        starts[name] = {key: value.clone() for key, value in weights.items()}
        build(self, **kwargs)

    monkeypatch.setattr(DomainGuidedTraining, "__init__", remember)
    other = bundle["multi_w"] / "weights" / "discriminator.safetensors"
    folders = set()
    for name, more in {  # noqa: B007 -- `remember` reads it
        "generator": [],
        "checkpoint": ["discriminator.init=checkpoint", f"discriminator.path={other}"],
        "scratch": ["discriminator.init=scratch"],
    }.items():
        folders.add(train_tiny("domain_guided", *more).name)
    assert len(folders) == 3
    files = {
        "generator": bundle["generator"] / "weights" / "discriminator.safetensors",
        "checkpoint": other,
    }
    for name, path in files.items():
        expected = load_network(path, key="test").state_dict()
        assert all(torch.equal(starts[name][key], value) for key, value in expected.items())
    assert not torch.equal(starts["scratch"]["out.weight"], starts["generator"]["out.weight"])


def test_g_and_f_come_out_of_a_whole_run_as_they_went_in(train_tiny, bundle, monkeypatch):
    from idinvert.checkpoints.release import load_network
    from idinvert.cli import train as command

    parts: list[Any] = []
    assemble = command.assemble
    monkeypatch.setattr(
        command, "assemble", lambda config: parts.append(assemble(config)) or parts[-1]
    )
    train_tiny("domain_guided", "nimg=24", "logging.panel_every_nimg=8")
    module = parts[0].module
    pairs = [
        (module.generator, bundle["generator"] / "weights" / "generator.safetensors"),
        (module.perceptual.network, bundle["attributes"] / "weights" / "attributes.safetensors"),
    ]
    for network, path in pairs:
        before = load_network(path, key="test").state_dict()
        after = network.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
        assert not network.training
