"""Every choice in conf/ composes, and its file opens with a command that takes it.

That these commands, and so all experiments, compose is tested with those of the pages, in
tests/docs.
"""

import re
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from idinvert.config.compose import compose_plain, config_dir, register
from tests.docs.pages import opening

CONF = config_dir()
GROUPS = sorted(CONF.glob("*/*.yaml"))
PUBLISHED = ("ffhq256", "lsun_tower256", "lsun_bedroom256", "lsun_church256")
GIVEN = {"data=folder": "data.path=FOLDER", "generator=checkpoint": "generator.path=FILE",
         "segmenter=checkpoint": "segmenter.path=FILE"}  # fmt: skip
GIVEN |= {f"data={name}": "data.path=FOLDER" for name in PUBLISHED}
"""What must be given with a choice."""
GLOBAL = ("experiment", "hparams_search", "debug")
"""Groups whose files set keys of other groups."""
BELOW_SCALE = ("perceptual", "attributes", "metric")
"""Groups whose choice is made by scale."""


def choice(path: Path) -> str:
    return f"{path.parent.name}={path.stem}"


def takes(program: str, group: str) -> bool:
    text = (CONF / f"{program}.yaml").read_text(encoding="utf-8")
    return group in BELOW_SCALE or re.search(rf"^  - {group}: ", text, re.MULTILINE) is not None


def with_needed(words: list[str]) -> list[str]:
    """The words, and what must be given with them and is not."""
    needed = [more for word, more in GIVEN.items() if word in words]
    keys = {word.split("=", 1)[0] for word in words}
    return [*words, *(more for more in needed if more.split("=", 1)[0] not in keys)]


def test_every_choice_composes_for_each_program_that_takes_it():
    """Those of different groups together, one of each at a time."""
    for program in ("train", "evaluate"):
        columns: dict[str, list[Path]] = {}
        for path in GROUPS:
            if path.parent.name not in GLOBAL and takes(program, path.parent.name):
                columns.setdefault(path.parent.name, []).append(path)
        for row in zip_longest(*columns.values()):
            paths = list(filter(None, row))
            config = compose_plain(program, with_needed([choice(path) for path in paths]))
            for path in paths:
                assert config[path.parent.name] is not None, path


def test_every_file_opens_with_a_command_that_takes_it():
    found = [path for path in GROUPS if not takes_its_file(path)]
    assert not found


def takes_its_file(path: Path) -> bool:
    """Whether the opening command chooses the file, itself or by a default."""
    _, program, *words = opening(path).words
    files = [CONF / f"{program.removesuffix('.py')}.yaml", CONF / "scale" / "miniature.yaml"]
    chosen = [word.removeprefix("experiment=") for word in words if word.startswith("experiment=")]
    files += [CONF / "experiment" / f"{name}.yaml" for name in chosen]
    standard = f"{path.parent.name}: {path.stem}"
    named = any(word.startswith((choice(path), f"{path.parent.name}.")) for word in words)
    return named or any(standard in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("data", PUBLISHED)
@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_a_gan_of_full_scale_is_trained_as_published(data, kind):
    """Karras et al. 2019 and 2020 (configuration F) at 256 px; LSUN is not mirrored."""
    words = [f"generator={kind}", f"discriminator={kind}", f"data={data}", "data.path=FOLDER"]
    config = compose_plain("train", ["experiment=gan", "scale=full", *words])
    objective = config["objective"]
    assert config["batch_size"] == 32 and config["nimg"] == 25_000_000
    assert (objective["r1_gamma"], objective["lr"], objective["betas"]) == (10, 0.002, [0, 0.99])
    every = (objective["r1_every"], objective["path_length_every"])
    assert every == {"stylegan": (1, 0), "stylegan2": (16, 4)}[kind]
    assert (objective["path_length_weight"], objective["path_length_shrink"]) == (2.0, 2)
    assert objective["mirror"] is (data == "ffhq256")
    assert (objective["ema_half_life"], objective["ema_rampup"]) == (10_000, None)
    assert 0.5 ** (32 / objective["w_avg_half_life"]) == pytest.approx(0.995, abs=1e-6)
    encoder = compose_plain("train", ["scale=full", f"data={data}", "data.path=FOLDER"])
    assert encoder["batch_size"] == 128 and encoder["objective"]["mirror"] is True


def test_a_class_of_ones_own_takes_the_values_that_any_other_takes():
    words = ["experiment=gan", "generator._target_=my_gan.Generator"]
    register()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        objective = compose("train", overrides=words).objective
    assert (objective.r1_every, objective.path_length_every) == (16, 0)
