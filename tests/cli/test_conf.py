"""Every file in conf/ composes, validates, and opens with a command that does."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from idinvert.config.compose import compose_plain, config_dir, expand_sweep, register

CONF = config_dir()
GROUPS = sorted(CONF.glob("*/*.yaml"))
COMMAND = re.compile(r"^# python (train|evaluate)\.py (.*)$", re.MULTILINE)
README = re.compile(r"^(?:torchrun \S+ |python )(train|evaluate)\.py (.*)$", re.MULTILINE)
PUBLISHED = ("ffhq256", "lsun_tower256", "lsun_bedroom256", "lsun_church256")
GIVEN = {"data=folder": "data.path=FOLDER", "generator=checkpoint": "generator.path=FILE"}
GIVEN |= {f"data={name}": "data.path=FOLDER" for name in PUBLISHED}
"""What must be given with a choice."""
GLOBAL = ("experiment", "hparams_search")
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


def opening(path: Path) -> tuple[str, list[str]]:
    """The program and the words of the command that a file opens with."""
    head = "\n".join(path.read_text(encoding="utf-8").splitlines()[:2])
    found = COMMAND.search(head)
    assert found, f"{path} does not open with its command"
    return found[1], [word for word in shlex.split(found[2]) if "=" in word]


@pytest.mark.parametrize("path", GROUPS, ids=choice)
def test_every_choice_composes(path: Path) -> None:
    group = path.parent.name
    programs = [program for program in ("train", "evaluate") if takes(program, group)]
    if group == "experiment":
        programs = [opening(path)[0]]  # the other one refuses it, or has rows of its own
    assert programs, f"no program takes {group}"
    for program in programs:
        words = with_needed([choice(path)])
        if program == "train" and "A fresh" in path.read_text(encoding="utf-8"):
            words.append("experiment=gan")
        config = compose_plain(program, words)
        assert group in GLOBAL or config[group] is not None


@pytest.mark.parametrize("path", GROUPS, ids=choice)
def test_every_file_says_what_it_is_and_the_command_that_takes_it(path: Path) -> None:
    program, words = opening(path)
    compose_plain(program, with_needed(words))
    lines = path.read_text(encoding="utf-8").splitlines()[:4]
    assert any(line.startswith("# ") and not COMMAND.match(line) for line in lines[1:])

    named = any(word.startswith((choice(path), f"{path.parent.name}.")) for word in words)
    standard = f"{path.parent.name}: {path.stem}"
    chosen_anyway = any(
        standard in (CONF / file).read_text(encoding="utf-8")
        for file in (f"{program}.yaml", "scale/miniature.yaml")
    )
    by_experiment = any(
        standard in (CONF / "experiment" / f"{word.removeprefix('experiment=')}.yaml").read_text()
        for word in words
        if word.startswith("experiment=")
    )
    assert named or chosen_anyway or by_experiment, f"{words} does not take {choice(path)}"


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_the_programs_files_open_with_a_command(program: str) -> None:
    found, words = opening(CONF / f"{program}.yaml")
    assert found == program
    compose_plain(program, words)


def test_the_readmes_commands_compose() -> None:
    readme = (CONF.parent / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = README.findall(readme)
    assert len(lines) > 10
    for program, rest in lines:
        words = shlex.split(rest, comments=True)
        sweep = "-m" in words
        words = [word for word in words if word != "-m"]
        for one in expand_sweep(words) if sweep else [words]:
            compose_plain(program, one)


@pytest.mark.parametrize("data", PUBLISHED)
@pytest.mark.parametrize("kind", ["stylegan", "stylegan2"])
def test_a_gan_of_full_scale_is_trained_as_published(data: str, kind: str) -> None:
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


def test_a_class_of_ones_own_takes_the_values_that_any_other_takes() -> None:
    words = ["experiment=gan", "generator._target_=my_gan.Generator"]
    register()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        objective = compose("train", overrides=words).objective
    assert (objective.r1_every, objective.path_length_every) == (16, 0)
