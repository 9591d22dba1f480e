"""Learning-rate schedules of an inversion, as functions of its progress."""

import math

from idinvert.errors import ConfigError
from idinvert.inversion.loop import Schedule

RAMP_UP, RAMP_DOWN = 0.05, 0.25


def cosine(t: float) -> float:
    """Half a cosine from 1 at t = 0 to 0 at t = 1."""
    return 0.5 + 0.5 * math.cos(math.pi * t)


def ramps(t: float) -> float:
    """Linearly up over the first 5 %, half a cosine down over the last 25 %, 1 between.

    Source: the projector of StyleGAN2 (Karras et al. 2020, App. D).
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))
    return down * min(1.0, t / RAMP_UP)


SCHEDULES: dict[str, Schedule | None] = {"constant": None, "cosine": cosine, "ramps": ramps}


def schedule_named(name: str) -> Schedule | None:
    """The factor on the learning rate as a function of progress in [0, 1); None is constant.

    Raises:
        ConfigError: There is no schedule of that name.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"inversion.schedule is {name!r}: expected one of {list(SCHEDULES)}")
    return SCHEDULES[name]
