"""`run=RUN`: found, brought along, and refused where it does not fit."""

import shutil

import pytest

import idinvert
from idinvert.cli.run_defaults import with_run
from idinvert.config.compose import compose_plain, given_keys
from idinvert.config.run_folder import read_config, write_config
from idinvert.errors import ConfigError, IdinvertError

FEW = ("n=4", "batch_size=4", "metric.names=[mse]", "inversion=encoder")


@pytest.fixture
def config(world, outputs):
    """The configuration of `evaluate.py run=RUN` with these overrides."""

    def made(*overrides):
        words = [f"run={world.run.name}", f"system.outputs={outputs}", *overrides]
        return with_run(compose_plain("evaluate", words), given=given_keys(words))

    return made


def test_a_run_is_found_by_the_start_of_its_id_and_by_its_folder(go, world):
    found = [go(f"run={run}", *FEW)[0] for run in (world.run.name[:4], world.run)]
    assert {record.run for record in found} == {world.run.name}


def test_runs_that_are_none_too_many_or_without_an_encoder(go, world, outputs):
    for name in ("abc1", "abc2"):
        write_config(outputs / "domain_guided" / name, {})
    name = world.run.name
    for run, message in (
        (f"x{name[1:]}", rf"run=x{name[1:]}.*{name}"),
        ("abc", r"run=abc fits 2 runs.*abc1.*abc2"),
        (world.gan, r"inversion=encoder takes an encoder: give the run=RUN"),
    ):
        with pytest.raises(ConfigError, match=message):
            go(f"run={run}", *FEW)


def test_a_run_brings_its_own_world(config, world):
    found, stored = config(), read_config(world.run)
    for key in ("scale", "generator", "perceptual", "attributes", "metric"):
        assert found[key] == stored[key], key
    assert {**found["data"], "cache_dir": 0} == {**stored["data"], "cache_dir": 0}
    assert found["data"]["cache_dir"] is None, "where images are kept is this machine's business"
    assert found["encoder"]["path"].endswith(world.run.name)
    assert found["n"] == stored["scale"]["n_test"]


def test_the_command_line_wins_over_the_run(config, world):
    stored = read_config(world.run)
    one_key = config("data.test=5", "metric.names=[ssim]", "system.cache=/c")
    assert one_key["data"] == stored["data"] | {"test": 5, "cache_dir": "/c"}
    assert one_key["metric"] == stored["metric"] | {"names": ["ssim"]}
    whole = config("data=faces_mini", "data.test=5", "perceptual=none", "encoder.path=mine")
    assert whole["data"]["train"] == 65_000 and whole["data"]["test"] == 5
    assert whole["perceptual"] == {"network": None, "lambda_vgg": 0.0}
    assert whole["encoder"] == {"path": "mine", "classes": []}
    assert config("data.cache_dir=/d")["data"]["cache_dir"] == "/d"


def test_a_choice_of_nothing_is_brought_along_too(config, world, outputs):
    folder = outputs / "domain_guided" / world.run.name
    write_config(folder, read_config(folder) | {"attributes": None})
    assert config()["attributes"] is None
    assert config("attributes.path=mine")["attributes"]["path"] == "mine"


def test_an_encoder_of_another_generator_is_refused(go, world, train_one):
    twin = train_one("experiment=gan", "seed=1")
    words = (f"run={world.run}", *FEW, "generator=checkpoint")
    with pytest.raises(ConfigError, match=r"trained for generator .*generator\.path"):
        go(*words, f"generator.path={twin}")
    wider = train_one("experiment=gan", "scale.w_dim=4")
    with pytest.raises(ConfigError, match=r"6 codes of 8 .* takes 6 of 4.*generator\.path"):
        go(*words, f"generator.path={wider}")


def test_a_copy_of_the_generator_is_the_same_generator(go, world, tmp_path):
    moved = shutil.copytree(world.gan, tmp_path / "elsewhere")
    (one,) = go(f"run={world.run}", *FEW)
    (other,) = go(f"run={world.run}", *FEW, f"generator.path={moved}")
    assert one.checkpoints == other.checkpoints and one.metrics == other.metrics


SENSELESS = (
    (("n=9",), r"n=9 images.*has 8"),
    (("n=0",), "n=0"),
    (("data.resolution=32",), r"data\.resolution=32.*16 px.*data\.resolution=16"),
    (("batch_size=0",), "batch_size=0"),
    (("batch_size=big",), "batch_size=big, expected a whole number or 'auto'"),
    (("split=tset",), "'test', 'val' or 'train'"),
    (("metric.names=[mse,ssmi]",), "ssmi"),
    (("metric.names=[fid]",), r"metric\.inception_path"),
    (("images=somewhere",), "task=invert"),
    (("inversion=in_domain", "inversion.lr=-1"), r"inversion"),
    (("inversion.noise=loud",), "noise"),
    (("perceptual=none", "inversion=in_domain", "inversion.lambda_vgg=1"), "lambda_vgg"),
    (("encoder.path=nowhere",), r"encoder\.path=nowhere does not exist"),
    (("perceptual.network.path=nowhere",), r"perceptual\.network\.path=nowhere"),
)
"""Words, and what is said of them."""


def test_what_does_not_make_sense_is_said_before_any_work(go, world, outputs):
    for words, message in SENSELESS:
        with pytest.raises(IdinvertError, match=message):
            go(f"run={world.run}", *FEW, *words)
    assert not (outputs / "records.jsonl").exists()


def test_a_run_opens_in_python(outputs, world):
    for source, words in (
        (world.run, ()),
        (world.run.name[:6], (f"system.outputs={outputs}",)),
    ):
        model = idinvert.open_model(source, "inversion=encoder", *words, device="cpu")
        codes = model.invert(model.sample(2).images).codes
        assert codes.shape == (2, model.generator.num_layers, 8) and codes.isfinite().all()
    with pytest.raises(ConfigError, match="takes an encoder"):
        idinvert.open_model(world.gan, device="cpu").invert(model.sample(1).images)
