"""Procedural faces: antialiased images and segmentation masks from exact attribute labels.

All geometry is in units of half the image: x to the right, y down, both in [-1, 1].
"""

import math

import torch
from torch import Tensor

from idinvert.toy import face_parts as parts
from idinvert.toy.drawing import Canvas, column, grid, palette, rgb, smoothstep
from idinvert.toy.face_parts import MASK_CLASSES, Head
from idinvert.toy.renderer import Columns, Renderer

_LABELS: dict[str, float | None] = {
    "pose": None,  # yaw
    "tilt": None,  # roll of the head
    "age": None,  # young to old: proportions, wrinkles, grey hair
    "gender": None,  # feminine to masculine: hair length, jaw, brows, lips
    "eyeglasses": 0.4,
    "smile": None,  # corners of the mouth; teeth from 0.1 on
    "hair_hue": None,  # red, brown, golden
    "hair_lightness": None,  # black to blond
    "skin": None,  # light to dark
    "background": None,  # along a palette of eight colours
    "light": None,  # from the left to from the right
    "width": None,  # narrow to wide face
    "beard": None,  # none up to 0, then stubble to full
    "eye_colour": None,  # brown, green, blue
    "brow": None,  # thin and raised to thick and low
    "parting": None,  # side to which the hairline sweeps
    "cloth": None,  # along a palette of seven colours
}
"""Labels: None for continuous ones; for binary ones, the probability of 1."""

_DEGREES = {"pose": 40.0, "tilt": 11.0}

_BEARD = 0.5  # fraction of masculine faces with a beard

_ZOOM = 1.13  # magnification of the head

_SKIN = ((0.99, 0.84, 0.73), (0.94, 0.74, 0.59), (0.78, 0.56, 0.41), (0.45, 0.29, 0.21))
_BACKGROUND = (
    (0.26, 0.33, 0.52),
    (0.36, 0.60, 0.78),
    (0.55, 0.78, 0.76),
    (0.62, 0.74, 0.50),
    (0.93, 0.87, 0.68),
    (0.90, 0.64, 0.50),
    (0.76, 0.56, 0.70),
    (0.42, 0.36, 0.46),
)
_CLOTH = (
    (0.16, 0.20, 0.36),
    (0.16, 0.46, 0.52),
    (0.35, 0.55, 0.30),
    (0.88, 0.74, 0.32),
    (0.80, 0.30, 0.26),
    (0.50, 0.26, 0.48),
    (0.90, 0.89, 0.88),
)
_IRIS = ((0.32, 0.18, 0.09), (0.36, 0.47, 0.24), (0.20, 0.48, 0.74))
_HAIR_DARK = ((0.22, 0.04, 0.03), (0.10, 0.06, 0.05), (0.16, 0.11, 0.03))
_HAIR_MIDDLE = ((0.66, 0.20, 0.09), (0.42, 0.26, 0.17), (0.62, 0.43, 0.15))
_HAIR_LIGHT = ((0.96, 0.55, 0.30), (0.88, 0.74, 0.52), (1.00, 0.90, 0.50))


def _correlated(labels: Columns, unit: Columns) -> Columns:
    """Gives beards to masculine faces only, and makes hair darker on darker skin.

    Strong poses are rarer than frontal ones, and smiles more frequent than sad faces.
    """
    pose, gender, lightness = labels["pose"], labels["gender"], labels["hair_lightness"]
    dark = labels["skin"].clamp(min=0.0)
    beard = unit["beard"]
    grown = (gender > 0) & (beard > 1.0 - _BEARD)
    amount = (beard - (1.0 - _BEARD)) / _BEARD  # [0, 1) for faces with a beard
    return {
        "pose": pose.sign() * pose.abs() ** 1.25,
        "tilt": (unit["tilt"] + unit["spare"] - 1.0).clamp(-1.0, 1.0),
        "smile": 2.0 * unit["smile"] ** 0.7 - 1.0,
        "gender": gender.sign() * (0.35 + 0.65 * gender.abs()),  # bimodal
        "hair_lightness": lightness - dark * 0.6 * (lightness + 1.0),
        "beard": torch.where(grown, 0.25 + 0.75 * amount, -1.0 + 0.5 * beard),
    }


def _hair_colour(hue: Tensor, lightness: Tensor, age: Tensor) -> Tensor:
    """Returns RGB `[N, 3]`; hair turns grey in the older half of life."""
    dark, middle, light = (palette(hue, c) for c in (_HAIR_DARK, _HAIR_MIDDLE, _HAIR_LIGHT))
    s = lightness[:, None]
    colour = torch.where(s < 0, torch.lerp(middle, dark, -s.clamp(max=0.0)), middle)
    colour = torch.where(s > 0, torch.lerp(colour, light, s.clamp(min=0.0)), colour)
    grey = (0.62 + 0.2 * s).expand(-1, 3)
    return torch.lerp(colour, grey, 0.8 * smoothstep(age, 0.25, 1.0)[:, None])


def _draw(value: Columns, p: Columns, size: int) -> tuple[Tensor, Tensor]:
    """Draws one block; see `Renderer.draw`."""
    x, y = grid(size, device=p["pose"].device)
    x, y = x / _ZOOM, y / _ZOOM

    skin = palette(value["skin"], _SKIN)
    red = skin.new_tensor((0.78, 0.24, 0.26))
    lips = torch.lerp(skin * skin.new_tensor((0.86, 0.62, 0.60)), red, 0.3)
    lips = torch.lerp(lips, red, (0.3 - 0.35 * value["gender"]).clamp(0.0, 1.0)[:, None])
    hair = _hair_colour(value["hair_hue"], value["hair_lightness"], value["age"])
    yaw64 = value["pose"] * math.radians(_DEGREES["pose"])
    yaw, sin_yaw, cos_yaw = column(yaw64), column(yaw64.sin()), column(yaw64.cos())
    roll = value["tilt"] * math.radians(_DEGREES["tilt"])
    sin_roll, cos_roll = column(roll.sin()), column(roll.cos())

    # Background: one colour, brighter around the head and towards the light.
    glow = 1.02 - 0.2 * ((x * 0.7) ** 2 + (y + 0.2) ** 2) + 0.1 * p["light"] * x
    canvas = Canvas(
        background=(rgb(palette(value["background"], _BACKGROUND)) * glow[:, None]).clamp(0.0, 1.0),
        parts=MASK_CLASSES,
        zoom=_ZOOM,
    )

    # The head turns about a point in the neck.
    neck_y = 0.55
    hx = cos_roll * x + sin_roll * (y - neck_y) - 0.05 * sin_yaw
    hy = -sin_roll * x + cos_roll * (y - neck_y) + neck_y

    a = 0.475 + 0.055 * p["width"]
    masculine = smoothstep(p["gender"], -1.0, 1.0)  # [N, 1, 1]
    below = 0.70 + 0.035 * p["age"]  # chin
    middle, above = 0.0, 0.66
    v = torch.where(hy > middle, (hy - middle) / below, (hy - middle) / above)  # [N, S, S]
    down = v.clamp(min=0.0)
    taper = 1.0 - (0.17 - 0.13 * masculine) * down * down
    round_ = (v * v).clamp(max=1.0)
    round_ = torch.where(v > 0, round_ * (1.0 - 0.22 * masculine * (1.0 - round_)), round_)
    beyond = torch.where(v * v > 1.0, v * v, round_)
    inside = canvas.cover((((hx / (a * taper)) ** 2 + beyond).sqrt() - 1.0) * 0.5)

    q = (hx / (0.94 * a * (1.0 - 0.45 * round_).sqrt())).clamp(-0.999, 0.999)
    u = torch.asin(q) - yaw

    # Lambert shading of an ellipsoid, plus ambient light.
    nx = (hx / a).clamp(-1.0, 1.0)
    ny = v.clamp(-1.0, 1.0)
    nz = (1.0 - nx * nx - ny * ny * 0.8).clamp(min=0.0).sqrt()
    lit = 0.60 + 0.46 * (0.62 * p["light"] * nx - 0.28 * ny + 0.84 * nz).clamp(min=0.0)

    head = Head(
        x=hx, y=hy, u=u, a=a, inside=inside, lit=lit, p=p, skin=rgb(skin), hair=rgb(hair),
        iris=rgb(palette(value["eye_colour"], _IRIS)), lips=rgb(lips),
        sin_yaw=sin_yaw, cos_yaw=cos_yaw, yaw=yaw,
    )  # fmt: skip
    length = 0.78 - 0.86 * masculine  # y of the lower end of the hair
    _hair_behind(canvas, head, length=length, masculine=masculine)
    _body(canvas, head, x=x, y=y, cloth=rgb(palette(value["cloth"], _CLOTH)), masculine=masculine)
    canvas.paint(head.shaded(head.skin), inside, "skin")
    parts.cheeks_and_wrinkles(canvas, head)
    parts.beard(canvas, head)
    parts.eyes(canvas, head)
    parts.brows(canvas, head)
    parts.mouth(canvas, head)
    parts.nose(canvas, head)
    _hair_in_front(canvas, head, length=length)
    _ears(canvas, head)
    u_glasses = torch.asin((hx / (a * 1.06)).clamp(-0.999, 0.999)) - yaw
    parts.glasses(canvas, head, u=u_glasses)
    return canvas.finish()


def _hair_behind(canvas: Canvas, head: Head, *, length: Tensor, masculine: Tensor) -> None:
    """Draws the parts of the hair that are farther away than the face."""
    x = head.x + 0.13 * head.sin_yaw  # the back of the head swings the other way
    volume = 0.15 - 0.075 * masculine
    half = head.a + volume
    dome = canvas.ellipse(x, head.y + 0.08, half, 0.70 + 0.02 * masculine)
    flare = half * (1.0 + 0.12 * (head.y - 0.2).clamp(min=0.0))
    curtain = canvas.cover(x.abs() - flare) * canvas.cover(head.y - length + 0.35 * x * x, soft=3.0)
    curtain = curtain * canvas.cover(-0.08 - head.y, soft=2.0)
    # The dome ends above the nape of short hair.
    dome = dome * canvas.cover(head.y - length.clamp(min=0.25), soft=3.0)
    area = torch.maximum(dome, curtain)
    inner = 0.62 + 0.3 * (x / half).abs().clamp(max=1.0)
    canvas.paint((head.hair * inner[:, None]).clamp(0.0, 1.0), area, "hair")


def _body(
    canvas: Canvas, head: Head, *, x: Tensor, y: Tensor, cloth: Tensor, masculine: Tensor
) -> None:
    """Draws neck, shoulders and a collar."""
    shade = 0.86 + 0.12 * head.p["light"] * x - 0.3 * smoothstep(0.9 - y, 0.0, 0.35)
    neck_x = x - 0.02 * head.sin_yaw
    neck = canvas.cover(
        neck_x.abs() - (0.2 + 0.06 * masculine) - 0.25 * (y - 0.8).clamp(min=0.0) ** 2
    )
    neck = neck * canvas.cover(0.3 - y)
    canvas.paint((head.skin * shade[:, None]).clamp(0.0, 1.0), neck, "skin")
    shoulders = canvas.ellipse(x, y - 1.15, 0.9 + 0.1 * masculine, 0.44)
    collar = canvas.ellipse(x, y - 0.70, 0.27, 0.16)
    fold = 0.9 + 0.16 * head.p["light"] * x + 0.12 * (1.0 - y)
    canvas.paint((cloth * fold[:, None]).clamp(0.0, 1.0), shoulders * (1.0 - collar), "cloth")


def _hair_in_front(canvas: Canvas, head: Head, *, length: Tensor) -> None:
    """Draws the hairline over the forehead and the hair beside the face."""
    parting = head.p["parting"]
    old = smoothstep(head.p["age"], 0.2, 1.0) * smoothstep(head.p["gender"], 0.0, 1.0)
    line = -0.37 - 0.07 * old - 0.13 * parting * torch.sin(1.3 * head.u)
    line = line - 0.09 * torch.exp(-(((head.u - 0.45 * parting) / 0.3) ** 2))
    beside = smoothstep(head.u.abs(), 1.0, 1.3)
    line = torch.lerp(line, length.clamp(min=0.1).expand_as(line), beside)
    area = canvas.cover(head.y - line, soft=1.5)
    # On the dome of the head, a bit beyond the outline of the face.
    outline = canvas.ellipse(head.x, head.y + 0.04, head.a + 0.03, 0.70)
    area = area * torch.maximum(outline, head.inside)
    strand = 1.0 + 0.07 * torch.sin(26.0 * head.u + 4.0 * head.y + 3.0 * parting)
    shine = torch.exp(-(((head.y + 0.5 + 0.12 * head.u**2) / 0.07) ** 2))
    shine = shine * torch.exp(-((head.u + head.yaw - 0.5 * head.p["light"]) ** 2) / 0.35)
    colour = head.shaded(head.hair) * strand[:, None] + 0.16 * shine[:, None]
    canvas.paint(colour.clamp(0.0, 1.0), area, "hair")
    under = torch.exp(-(((head.y - line - 0.03) / 0.03) ** 2)) * (1.0 - area)
    canvas.shade(1.0 - 0.28 * under * head.inside)


def _ears(canvas: Canvas, head: Head) -> None:
    """Draws ears for short hair; the far one disappears when the head turns."""
    short = smoothstep(head.p["gender"], -0.2, 0.2)
    for side in (-1.0, 1.0):
        place = head.yaw + side * 1.42
        seen = smoothstep(torch.cos(place), -0.05, 0.15) * short
        x = head.x - head.a * torch.sin(place) * 1.03
        ear = canvas.ellipse(x, head.y - 0.03, 0.065, 0.125)
        canvas.paint(head.shaded(head.skin * 0.93), ear * seen, "skin")
        hollow = canvas.ellipse(x, head.y - 0.03, 0.03, 0.075)
        canvas.paint(head.shaded(head.skin * 0.62), hollow * seen * 0.7)


FACES = Renderer(
    name="faces_mini",
    version=1,
    shares=_LABELS,
    mask_classes=MASK_CLASSES,
    draw=_draw,
    correlated=_correlated,
    drawn=False,
    degrees=_DEGREES,
)
