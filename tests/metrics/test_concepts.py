"""Colours and edges against what they are by definition, pixel by pixel."""

import numpy as np
import torch

from idinvert.metrics.dissection import COLOURS, EDGES, STEEP, colour_masks, edge_masks


def test_every_pixel_has_the_colour_that_is_nearest():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 5, 4), generator=rng, dtype=torch.uint8)
    found = colour_masks(images)
    assert found.shape == (2, len(COLOURS), 5, 4) and (found.sum(1) == 1).all()
    references = np.array(list(COLOURS.values()), dtype=float)
    for n, y, x in np.ndindex(2, 5, 4):
        distances = ((images[n, :, y, x].numpy().astype(float) - references) ** 2).sum(1)
        assert found[n, :, y, x].int().argmax() == distances.argmin()


def test_names_are_those_of_their_own_colours():
    images = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)[:, :, None, None]
    assert torch.equal(colour_masks(images)[:, :, 0, 0], torch.eye(len(COLOURS), dtype=torch.bool))


def test_edges_are_where_luma_is_steep_by_their_direction():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    images[0, :, :, 4:] = 255  # a vertical edge between columns 3 and 4
    images[1, :, 4:, :] = round(255 * 2 * STEEP) - 2  # a horizontal one that is too faint
    found = edge_masks(images)
    assert found.shape == (2, len(EDGES), 8, 8)
    assert found[0, 0].sum(0).tolist() == [0, 0, 0, 8, 8, 0, 0, 0] and not found[0, 1].any()
    assert not found[1].any()
    images[1, :, 4:, :] += 4
    assert edge_masks(images)[1, 1].sum(1).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]
