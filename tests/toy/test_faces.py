"""Faces: labels by index, pictures that do not depend on their batch, masks that tell the truth."""

import pytest
import torch
from torch import Tensor

from idinvert.toy.faces import ATTRIBUTES, FACES, MASK_CLASSES

NAMES = [attribute.name for attribute in ATTRIBUTES]


# Mean red, green, blue of the first six faces of seed 0 at 32 px, and pixels a class.
MEANS = (
    (150.53, 143.46, 102.51),
    (172.01, 156.07, 117.53),
    (185.41, 136.89, 107.58),
    (156.58, 120.02, 120.68),
    (181.89, 144.87, 109.57),
    (135.5, 133.32, 127.49),
)
COUNTS = (2713, 239, 1159, 1537, 95, 39, 65, 32, 98, 167)


def labels(**values: float) -> Tensor:
    """One neutral face with some values changed."""
    row = torch.zeros(1, len(ATTRIBUTES))
    row[0, NAMES.index("beard")] = -1.0
    for name, value in values.items():
        row[0, NAMES.index(name)] = value
    return row


def share(mask: Tensor, name: str) -> float:
    return float((mask == MASK_CLASSES.index(name)).float().mean())


def test_labels_depend_on_index_and_seed_alone() -> None:
    everyone = FACES.sample_labels(torch.arange(1000), seed=3)
    some = torch.tensor([999, 0, 17, 512])
    assert torch.equal(FACES.sample_labels(some, seed=3), everyone[some])
    assert torch.equal(FACES.sample_labels(torch.tensor([17]), seed=3)[0], everyone[17])
    assert not torch.equal(FACES.sample_labels(some, seed=4), everyone[some])


def test_labels_keep_their_ranges_and_plausible_correlations() -> None:
    drawn = FACES.sample_labels(torch.arange(5000), seed=0)
    assert drawn.dtype == torch.float32
    for i, attribute in enumerate(ATTRIBUTES):
        column = drawn[:, i]
        if attribute.kind == "binary":
            assert set(column.tolist()) == {0.0, 1.0}
        else:
            assert column.min() >= -1 and column.max() <= 1 and column.std() > 0.2
    glasses = drawn[:, NAMES.index("eyeglasses")].mean()
    assert 0.37 < glasses < 0.43
    bearded = drawn[:, NAMES.index("beard")] > 0
    assert 0.2 < bearded.float().mean() < 0.3
    assert (drawn[bearded, NAMES.index("gender")] > 0).all()


def test_a_picture_does_not_depend_on_its_batch() -> None:
    drawn = FACES.sample_labels(torch.arange(37), seed=0)
    pictures, masks = FACES.render(drawn, resolution=32)
    assert pictures.shape == (37, 3, 32, 32) and pictures.dtype == torch.uint8
    assert masks.shape == (37, 32, 32) and masks.dtype == torch.uint8
    for rows in ([36], [5, 3], list(range(20, 37)), [0, 36, 1]):
        some, some_masks = FACES.render(drawn[rows], resolution=32)
        assert torch.equal(some, pictures[rows])
        assert torch.equal(some_masks, masks[rows])


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=NAMES)
def test_every_attribute_changes_the_picture_visibly(attribute) -> None:
    low = 0.0 if attribute.kind == "binary" else -1.0
    pictures, _ = FACES.render(
        torch.cat([labels(**{attribute.name: low}), labels(**{attribute.name: 1.0})]), resolution=64
    )
    change = (pictures[0].float() - pictures[1].float()).abs().amax(0)
    assert (change > 20).sum() >= 12  # pixels of 4,096 that change by more than 8 % of the range


def test_small_changes_of_a_label_make_small_changes_of_the_picture() -> None:
    for attribute in ATTRIBUTES:
        if attribute.kind == "binary":
            continue
        base = FACES.sample_labels(torch.tensor([11]), seed=0)
        moved = base.clone()
        i = NAMES.index(attribute.name)
        moved[0, i] += 0.004 if base[0, i] < 0 else -0.004
        pictures, _ = FACES.render(torch.cat([base, moved]), resolution=32)
        change = (pictures[0].float() - pictures[1].float()).abs()
        assert change.mean() < 1.0, attribute.name


@pytest.mark.parametrize("resolution", [32, 64])
def test_masks_tell_glasses_and_beards(resolution: int) -> None:
    drawn = FACES.sample_labels(torch.arange(96), seed=1)
    _, masks = FACES.render(drawn, resolution=resolution)
    glasses = (masks == MASK_CLASSES.index("glasses")).flatten(1).float().mean(1)
    worn = drawn[:, NAMES.index("eyeglasses")] == 1
    assert (glasses[~worn] == 0).all() and (glasses[worn] > 0.01).all()
    beards = (masks == MASK_CLASSES.index("beard")).flatten(1).float().mean(1)
    beard = drawn[:, NAMES.index("beard")]
    assert (beards[beard <= 0] == 0).all() and (beards[beard > 0.6] > 0.01).all()
    assert int(masks.max()) < len(MASK_CLASSES)


def test_masks_agree_with_the_colours() -> None:
    pictures, masks = FACES.render(labels(eyeglasses=1.0, smile=1.0), resolution=128)
    picture, mask = pictures[0].float(), masks[0]
    frame = picture[:, mask == MASK_CLASSES.index("glasses")]
    assert frame.mean() < 60  # dark
    skin = picture[:, mask == MASK_CLASSES.index("skin")].mean(1)
    assert skin[0] > skin[1] > skin[2]
    for name in ("background", "cloth", "skin", "hair", "nose", "mouth", "eyes", "glasses"):
        assert share(mask, name) > 0.002, name


def test_a_smile_shows_teeth_and_a_turn_moves_the_face() -> None:
    pictures, masks = FACES.render(
        torch.cat([labels(smile=-0.5), labels(smile=1.0)]), resolution=64
    )
    mouths = masks == MASK_CLASSES.index("mouth")
    white = [(p.float().amin(0)[m] > 200).sum() for p, m in zip(pictures, mouths, strict=True)]
    assert white[0] == 0 and white[1] >= 6
    _, masks = FACES.render(torch.cat([labels(pose=v) for v in (-1.0, 0.0, 1.0)]), resolution=64)
    columns = torch.arange(64.0)
    centres = []
    for mask in masks:
        mouth = (mask == MASK_CLASSES.index("mouth")).float().sum(0)
        centres.append(float((mouth * columns).sum() / mouth.sum()))
    assert centres[0] < centres[1] - 6 and centres[2] > centres[1] + 6
    assert abs(centres[1] - 31.5) < 0.5


def test_a_higher_resolution_is_the_same_picture() -> None:
    drawn = FACES.sample_labels(torch.arange(4), seed=0)
    small = FACES.render(drawn, resolution=32)[0].float()
    large = FACES.render(drawn, resolution=128)[0].float()
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    assert (reduced - small).abs().mean() < 4.0


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, 17\]"):
        FACES.render(torch.zeros(2, 5), resolution=32)
    pictures, masks = FACES.render(torch.zeros(0, len(ATTRIBUTES)), resolution=32)
    assert pictures.shape == (0, 3, 32, 32) and masks.shape == (0, 32, 32)


def test_pictures_are_those_the_shipped_networks_learned() -> None:
    """Where this fails on purpose, raise `FACES.version` and train the shipped networks anew."""
    pictures, masks = FACES.render(FACES.sample_labels(torch.arange(6), seed=0), resolution=32)
    means = pictures.double().mean((2, 3))
    torch.testing.assert_close(means, torch.tensor(MEANS).double(), atol=0.02, rtol=0)
    counts = torch.bincount(masks.long().flatten(), minlength=len(MASK_CLASSES))
    assert (counts - torch.tensor(COUNTS)).abs().max() <= 4
