"""``task=initial``: where the training of an encoder starts, with and without w̄ (Fig. 17)."""

from dataclasses import replace
from typing import Any

import torch

from idinvert.cli.setup import Setup, open_setup
from idinvert.cli.tasks.methods import WITHOUT_ENCODER, changed, check_methods
from idinvert.cli.tasks.opening import finished, subject_of, task_folder
from idinvert.config.compose import compose_plain
from idinvert.config.run_folder import is_first_process
from idinvert.evaluation import networks as wire
from idinvert.evaluation.initial import Untrained, initial
from idinvert.evaluation.networks import network_choices
from idinvert.evaluation.open_data import open_data
from idinvert.evaluation.subject import Subject
from idinvert.inversion.encoder import EncoderInverter
from idinvert.results.record import Record

OFFSETS = ("none", "w_avg")


def show_initial(
    *, config: dict[str, Any], generators: list[dict[str, Any]], encoder: str, shown: int
) -> list[Record]:
    """Encodes images with untrained encoders for each generator, with and without w̄ (Eq. 6).

    Args:
        config: Of the command.
        generators: Entries whose words choose a generator.
        encoder: Words of ``train.py`` that choose the encoder.
        shown: Images in the picture.
    """
    if not is_first_process():
        return []
    check_methods(generators, key="task.generators")
    setups = [open_setup(changed(config, entry, WITHOUT_ENCODER)) for entry in generators]
    domain = open_data(config["data"])
    entries = [
        Untrained(
            entry["label"],
            {
                offset: _untrained(setup, subject_of(setup, domain=domain), encoder, offset)
                for offset in OFFSETS
            },
        )
        for entry, setup in zip(generators, setups, strict=True)
    ]
    options = {
        "generators": [setup.origin.checkpoints for setup in setups],
        "encoder": encoder,
        "seed": config["seed"],
        "n": config["n"],
    }
    first = entries[0].subjects["none"]
    with task_folder(setups[0], first, "initial", **options) as out:
        return finished(initial(entries, out=out, shown=shown), out)


def _untrained(setup: Setup, subject: Subject, words: str, offset: str) -> Subject:
    """The subject under a fresh encoder, of the seed's first weights."""
    train = compose_plain("train", words.split())
    latent = {"space": "w_plus", "offset": offset}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.config["seed"])
        node = _at_resolution(train["encoder"], setup.generator.resolution)
        encoder = wire.fresh_encoder(node, latent, generator=setup.generator)
    encoder.eval().requires_grad_(False)
    choices = dict(setup.origin.choices)
    choices |= {"encoder": network_choices(encoder.backbone), "latent": latent}
    return replace(
        subject,
        inverter=EncoderInverter(encoder=encoder),
        name="encoder",
        origin=replace(setup.origin, choices=choices, nimg=0),
    )


def _at_resolution(node: dict[str, Any], resolution: int) -> dict[str, Any]:
    """The encoder's node for images of the generator's size."""
    if "backbone" not in node:
        return node
    return {**node, "backbone": {**node["backbone"], "resolution": resolution}}
