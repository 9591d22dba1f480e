"""Each conf/inversion file: it composes, and it says what its constructor's defaults are."""

import inspect

import pytest
from hydra.utils import get_object

from idinvert.config.compose import compose_plain, config_dir
from idinvert.config.identity import original_targets, present_targets
from idinvert.config.instantiate import build
from idinvert.evaluation.networks import build_method, room_name
from idinvert.inversion.inversion import Inverter

FILES = sorted((config_dir() / "inversion").glob("*.yaml"), key=lambda path: path.stem)
SHARED = {"steps", "lr", "betas", "schedule", "space", "seed", "noise", "keep_best"}
SHARED |= {"early_stop", "early_stop_gain", "lambda_vgg"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_composes_and_its_values_are_the_constructors_defaults(path, world):
    node = compose_plain("evaluate", [f"inversion={path.stem}"])["inversion"]
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    asked = {"encoder": world.encoder, "perceptual": world.features, "latent": "w_plus"}
    keys = {key for key in node if not key.startswith("_")}
    assert keys == set(parameters) - set(asked), "a keyword has no key, or a key no keyword"
    if path.stem != "encoder":
        assert keys >= SHARED - ({"space"} if path.stem == "layers" else set())
    for key in keys:
        default = parameters[key].default
        if key == "lambda_vgg":
            assert node[key] is None and default > 0
        else:
            assert node[key] == (list(default) if isinstance(default, tuple) else default), key
    if node.get("lambda_vgg", 0) is None:
        node["lambda_vgg"] = 0.1
    method = build(node, key="inversion", **{k: v for k, v in asked.items() if k in parameters})
    assert isinstance(method, Inverter) and method.settings["method"] == path.stem


def test_the_seed_is_the_evaluations():
    for path in FILES:
        words = [f"inversion={path.stem}", "seed=7"]
        assert compose_plain("evaluate", words)["inversion"]["seed"] == 7


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["vgg16", "squeezenet", "attributes"])
def test_the_weight_of_f_is_the_methods_own_on_vgg16_or_fs(path, name, world):
    words = [f"inversion={path.stem}", f"perceptual={name}", "perceptual.lambda_vgg=0.7"]
    config = compose_plain("evaluate", words)
    method = build_method(
        config["inversion"], config, encoder=world.encoder, perceptual=world.features
    )
    own = {"image2stylegan": 3e-4, "multi_code": 1.7e-5, "layers": 1.7e-5}.get(path.stem, 0.7)
    own = own if name == "vgg16" else 0.7
    assert method.settings.get("lambda_vgg", own) == own
    config["inversion"] |= {"lambda_vgg": 0.2} if "lambda_vgg" in config["inversion"] else {}
    method = build_method(
        config["inversion"], config, encoder=world.encoder, perceptual=world.features
    )
    assert method.settings.get("lambda_vgg", 0.2) == 0.2


def test_methods_that_moved_are_found_by_their_first_names_and_keep_them():
    """A stored configuration opens, and what identities are made of says what it said."""
    for stem, name in (
        ("in_domain", "InDomain"),
        ("free", "Free"),
        ("image2stylegan", "Image2StyleGAN"),
    ):
        first = {"_target_": f"idinvert.inversion.{stem}.{name}Inverter"}
        now = compose_plain("evaluate", [f"inversion={stem}"])["inversion"]["_target_"]
        assert present_targets(first) == {"_target_": now}
        assert original_targets({"_target_": now}) == first
        assert room_name(now) == stem
