"""The parts of a procedural face, drawn in coordinates attached to its surface.

A part at longitude u0 is drawn around `X = (u - u0) * a` with `u = asin(x / a) - yaw`, so that a
turn of the head moves and foreshortens it automatically. Parts that come in pairs are drawn once,
in `|u|`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert.toy.drawing import Canvas, smoothstep

MASK_CLASSES = (
    "background", "cloth", "skin", "hair", "beard", "nose", "mouth", "brows", "eyes", "glasses",
)  # fmt: skip

_EYE_U = 0.43  # longitude of the eyes, radians
_EYE_Y = -0.06


@dataclass(frozen=True)
class Head:
    """Coordinates and colours shared by all parts.

    Attributes:
        x, y: Coordinates of the upright head, float32 `[N, S, S]`.
        u: Longitude from the middle of the face, radians, `[N, S, S]`.
        a: Half width of the face `[N, 1, 1]`.
        inside: Coverage of the face's outline `[N, S, S]`.
        lit: Brightness of the surface `[N, S, S]`, about 1.
        p: Labels by name `[N, 1, 1]`.
        skin, hair, iris, lips: RGB `[N, 3, 1, 1]`.
        sin_yaw, cos_yaw, yaw: `[N, 1, 1]`.
    """

    x: Tensor
    y: Tensor
    u: Tensor
    a: Tensor
    inside: Tensor
    lit: Tensor
    p: dict[str, Tensor]
    skin: Tensor
    hair: Tensor
    iris: Tensor
    lips: Tensor
    sin_yaw: Tensor
    cos_yaw: Tensor
    yaw: Tensor

    def shaded(self, colour: Tensor) -> Tensor:
        """Returns `colour` `[N, 3, 1, 1]` under the head's light, `[N, 3, S, S]`."""
        return (colour * self.lit[:, None]).clamp(0.0, 1.0)


def cheeks_and_wrinkles(canvas: Canvas, head: Head) -> None:
    """Draws blush, and with age the lines of forehead, cheeks and eye bags."""
    side = head.u.abs()
    blush = torch.exp(-(((side - 0.62) / 0.26) ** 2) - ((head.y - 0.2) / 0.15) ** 2)
    strength = 0.22 - 0.08 * head.p["gender"] - 0.08 * head.p["age"]
    canvas.paint(head.shaded(head.lips), blush * strength * head.inside)

    old = smoothstep(head.p["age"], 0.0, 1.0)
    fold_x = (side - 0.33 - 0.55 * (head.y - 0.2)) * head.a  # nasolabial fold
    fold = torch.exp(-((fold_x / 0.022) ** 2) - ((head.y - 0.3) / 0.1) ** 2)
    bag_y = head.y - (_EYE_Y + 0.12) + 0.5 * (side - _EYE_U) ** 2
    bag = torch.exp(-((bag_y / 0.02) ** 2) - ((side - _EYE_U) / 0.2) ** 2)
    line = head.y + 0.33 + 0.05 * head.u**2
    forehead = torch.exp(-((line / 0.014) ** 2)) + torch.exp(-(((line - 0.075) / 0.014) ** 2))
    forehead = forehead * torch.exp(-((head.u / 0.55) ** 4))
    canvas.shade(1.0 - old * head.inside * (0.42 * fold + 0.3 * bag + 0.3 * forehead))


def beard(canvas: Canvas, head: Head) -> None:
    """Draws stubble to full beard along the jaw, with a moustache."""
    amount = smoothstep(head.p["beard"], 0.0, 0.7) * 0.92
    side = head.u.abs()
    # Upper edge: low under the mouth, high beside it, up to the ears.
    top = 0.505 - 0.2 * smoothstep(side, 0.3, 0.5) - 0.3 * (side / 1.15).clamp(max=1.3) ** 2
    jaw = canvas.cover(top - head.y, soft=4.0)
    moustache = canvas.ellipse(head.u * head.a, head.y - 0.315 - 0.9 * head.u**2 * 0.3, 0.19, 0.05)
    area = torch.maximum(jaw, moustache) * head.inside
    strand = 1.0 + 0.1 * torch.sin(46.0 * head.u + 9.0 * head.y)
    canvas.paint(head.shaded(head.hair * 0.72) * strand[:, None], area * amount, "beard")


def eyes(canvas: Canvas, head: Head) -> None:
    """Draws almonds with iris, pupil, highlight and a dark upper lid; narrower with a smile."""
    x = (head.u.abs() - _EYE_U) * head.a
    y = head.y - _EYE_Y
    big = 1.06 - 0.16 * head.p["age"]
    half_x = 0.112 * big
    half_y = 0.059 * big * (1.0 - 0.2 * head.p["smile"].clamp(min=0.0))
    socket = torch.exp(-((x / 0.15) ** 2) - ((y + 0.01) / 0.1) ** 2)
    canvas.shade(1.0 - 0.16 * socket * head.inside)

    lid = canvas.ellipse(x, y + 0.014, half_x + 0.016, half_y + 0.016) * head.inside
    dark = head.skin * 0.28
    canvas.paint(head.shaded(dark), lid * 0.9, "eyes")
    white = canvas.ellipse(x, y - 0.006, half_x, half_y) * head.inside
    canvas.paint(head.shaded(torch.full_like(head.skin, 0.95)), white, "eyes")
    iris = canvas.ellipse(x, y + 0.004, 0.059 * big, 0.059 * big) * white
    canvas.paint(head.iris, iris)
    pupil = canvas.ellipse(x, y + 0.004, 0.029 * big, 0.029 * big) * white
    canvas.paint(torch.zeros_like(head.iris) + 0.03, pupil)
    spark = canvas.ellipse(x + 0.018, y + 0.024, 0.014, 0.014) * white
    canvas.paint(torch.ones_like(head.iris), spark * 0.9)


def brows(canvas: Canvas, head: Head) -> None:
    """Draws arched bands above the eyes: thin and raised to thick and low."""
    brow = head.p["brow"]
    t = (head.u.abs() - _EYE_U - 0.02) * head.a / 0.15  # -1 inner end, 1 outer end
    middle = _EYE_Y - 0.165 + 0.03 * brow + 0.035 * t * t - 0.02 * brow * t
    half = (0.021 + 0.009 * brow + 0.005 * head.p["gender"]) * (1.0 - 0.35 * t)
    band = canvas.cover((head.y - middle).abs() - half, soft=1.3)
    ends = canvas.cover((t.abs() - 1.0) * 0.15, soft=2.0)
    canvas.paint(head.shaded(head.hair * 0.55), band * ends * head.inside * 0.92, "brows")


def nose(canvas: Canvas, head: Head) -> None:
    """Draws a ridge that protrudes: its tip moves more than the face when the head turns."""
    tip_x = head.a * head.sin_yaw * 1.12
    root_x = head.a * head.sin_yaw * 0.96
    root_y, tip_y = -0.05, 0.175
    t = ((head.y - root_y) / (tip_y - root_y)).clamp(0.0, 1.0)
    x = head.x - torch.lerp(root_x, tip_x, t)
    along = smoothstep(head.y, root_y - 0.1, tip_y) * canvas.cover(head.y - tip_y - 0.05, soft=6.0)
    width = 0.035 + 0.035 * t
    light = head.p["light"]
    dark_side = torch.exp(-(((x + (0.055 + 0.02 * t) * light.sign()) / width) ** 2))
    canvas.shade(1.0 - 0.3 * along * dark_side * (0.35 + 0.65 * light.abs()) * head.inside)
    ridge = torch.exp(-(((x - 0.01 * light) / (width * 0.7)) ** 2)) * along
    canvas.paint((head.skin * 1.25).clamp(max=1.0), ridge * 0.32 * head.inside)

    xt, yt = head.x - tip_x, head.y - tip_y
    bulb = canvas.ellipse(xt, yt, 0.085, 0.06)
    canvas.paint(head.shaded(torch.lerp(head.skin, head.lips, 0.16)), bulb * 0.5)
    on_ridge = (along * ridge > 0.55) & (head.inside > 0.5)
    canvas.mark((bulb > 0.5) | on_ridge, "nose")
    under = torch.exp(-((xt / 0.085) ** 2) - ((yt - 0.062) / 0.02) ** 2)
    canvas.shade(1.0 - 0.4 * under)
    holes = canvas.ellipse(xt.abs() - 0.038 * head.cos_yaw, yt - 0.05, 0.02, 0.014)
    canvas.paint(head.skin * 0.25, holes * 0.8)
    spot = torch.exp(-(((xt - 0.02 * light) / 0.026) ** 2) - ((yt + 0.015) / 0.022) ** 2)
    canvas.paint(torch.ones_like(head.skin), spot * 0.35)


def mouth(canvas: Canvas, head: Head) -> None:
    """Draws lips along a parabola bent by the smile; from a light smile on, teeth between them."""
    smile = head.p["smile"]
    glad = smile.clamp(min=0.0)
    half = 0.18 + 0.045 * smile.clamp(min=-0.4)
    t = head.u * head.a / half
    rise = (1.0 - t * t).clamp(min=0.0)
    bend = 0.085 * glad - 0.055 * (-smile).clamp(min=0.0)  # corners up when glad, down when sad
    centre = 0.425 + bend * (rise - 0.55)
    gap = 0.105 * smoothstep(smile, 0.1, 1.0) * rise
    lip = 0.036 - 0.008 * head.p["gender"]
    y = head.y - centre
    ends = canvas.cover((t.abs() - 1.0) * half, soft=1.5)
    upper, lower = -lip * rise.sqrt(), gap + lip * 1.25 * rise.sqrt()
    lips = canvas.cover(upper - y) * canvas.cover(y - lower) * ends * head.inside
    shadow = torch.exp(-(((y - lower - 0.035) / 0.024) ** 2)) * torch.exp(-((t / 0.7) ** 2))
    canvas.shade(1.0 - 0.2 * shadow * head.inside)
    canvas.paint(head.shaded(head.lips), lips, "mouth")
    gloss = torch.exp(-(((y - (gap + lower) * 0.5) / 0.012) ** 2)) * torch.exp(-((t / 0.35) ** 2))
    canvas.paint(torch.ones_like(head.lips), gloss * 0.22 * lips)

    seam = canvas.cover((y - 0.5 * gap).abs() - 0.5 * gap - 0.011, soft=1.2) * ends * head.inside
    canvas.paint(head.lips * 0.28, seam * 0.85)
    opened = canvas.cover((y - 0.5 * gap).abs() - 0.5 * gap + 0.008) * ends * head.inside
    teeth = opened * smoothstep(glad, 0.1, 0.3)
    canvas.paint(torch.full_like(head.lips, 0.96), teeth)
    corner = torch.exp(-(((t.abs() - 1.08) / 0.1) ** 2) - (y / 0.03) ** 2)
    canvas.shade(1.0 - 0.3 * corner * head.inside)


def glasses(canvas: Canvas, head: Head, *, u: Tensor) -> None:
    """Draws dark rims, bridge and temples, slightly in front of the face (hence their own `u`)."""
    worn = head.p["eyeglasses"]
    side = u.abs()
    x = (side - _EYE_U - 0.01) * head.a
    y = head.y - _EYE_Y - 0.012
    # Superellipse of degree 4: a rounded rectangle.
    radius = ((x / 0.165) ** 4 + (y / 0.128) ** 4).sqrt().sqrt()
    distance = (radius - 1.0) * 0.14
    rim = canvas.cover(distance.abs() - 0.03)
    bridge = canvas.cover((y + 0.03).abs() - 0.022) * canvas.cover((side - 0.16) * head.a)
    arm = canvas.cover((y + 0.05).abs() - 0.022) * canvas.cover((0.77 - side) * head.a)
    arm = arm * canvas.cover((side - 1.5) * head.a, soft=3.0)
    near = canvas.cover(head.x.abs() - 1.06 * head.a)  # nothing floats beside the head
    frame = torch.maximum(torch.maximum(rim, bridge), arm) * near * worn
    lens = canvas.cover(distance) * near * worn
    gleam = torch.exp(-(((x + y * 0.8 - 0.03) / 0.03) ** 2))
    canvas.paint(torch.full_like(head.skin, 0.92), lens * (0.06 + 0.2 * gleam))
    canvas.paint(torch.full_like(head.skin, 0.05), frame, "glasses")
