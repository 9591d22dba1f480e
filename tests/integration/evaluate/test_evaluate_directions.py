"""`task=directions` and `task=attributes`: what needs no encoder works without one."""

import pytest
import torch

from idinvert.checkpoints.release import fingerprint, load_network
from idinvert.data.convert import to_float
from idinvert.editing.directions import load_directions
from idinvert.errors import ConfigError
from idinvert.results.record import read_records
from idinvert.toy.miniature import faces_mini

pytestmark = pytest.mark.usefixtures("nothing_shipped")


@pytest.fixture
def of_the_gan(world):
    """The command of conf/task/directions.yaml, with few samples."""
    return [
        "task=directions",
        "generator=checkpoint",
        f"generator.path={world.gan}",
        f"attributes.path={world.attributes}",
        "task.names=[pose,eyeglasses]",
        "task.samples=200",
        "task.fraction=0.25",
    ]


def test_directions_are_found_for_a_fresh_gan(go, world, outputs, of_the_gan):
    assert go(*of_the_gan) == []
    (path,) = (outputs / "evaluations").rglob("directions.safetensors")
    weights = world.gan / "weights" / "generator.safetensors"
    generator = load_network(weights, key="path")
    found = load_directions(
        path,
        num_layers=generator.num_layers,
        w_dim=generator.w_dim,
        generator=fingerprint(weights),
    )
    assert set(found) == {"pose", "eyeglasses"}
    reader = load_network(world.attributes / "weights" / "attributes.safetensors", key="path")
    z = torch.randn(200, generator.z_dim, generator=torch.Generator().manual_seed(9))
    w = generator.mapping(z)
    for name, direction in found.items():
        torch.testing.assert_close(direction.vector.norm(dim=1), torch.ones(1))
        assert {"command", "commit", "seed", "generator"} <= set(direction.provenance)
        column = reader.names.index(name)
        below, above = (
            reader(generator.synthesis(w + step * direction.vector)) for step in (-1.0, 1.0)
        )
        rise = (above - below)[:, column].mean()
        assert rise > 0, f"{name} rises along its direction"


def test_a_name_that_is_not_read_is_answered_with_the_nearest(go, of_the_gan):
    with pytest.raises(ConfigError, match=r"task\.names: eyeglases.*'eyeglasses'"):
        go(*of_the_gan, "task.names=[eyeglases]")
    with pytest.raises(ConfigError, match="attributes=shipped"):
        go(*(word for word in of_the_gan if "attributes" not in word), "~attributes")


def test_labels_read_from_images_are_compared_with_the_true_ones(go, world, outputs):
    faces = ("data.train=16", "data.val=4", "data.test=8", "data.resolution=16", "n=8")
    words = ("task=attributes", f"attributes.path={world.attributes}", "batch_size=3", *faces)
    (record,) = go(*words)
    assert read_records(outputs / "records.jsonl") == [record]
    assert record.task == "attributes" and record.n == 8
    network = load_network(world.attributes / "weights" / "attributes.safetensors", key="path")
    test = faces_mini(resolution=16, train=16, val=4, test=8, cache_dir=world.cache).test
    items = [test[i] for i in range(8)]
    read = network.predict(to_float(torch.stack([item["image"] for item in items]))).double()
    true = torch.stack([item["attributes"] for item in items]).double()
    pose, glasses = (network.names.index(name) for name in ("pose", "eyeglasses"))
    expected = torch.corrcoef(torch.stack([read[:, pose], true[:, pose]]))[0, 1].item()
    assert record.metrics["correlation_pose"] == pytest.approx(expected, abs=1e-5)
    agree = ((read[:, glasses] > 0.5) == (true[:, glasses] > 0.5)).double().mean().item()
    assert record.metrics["agreement_eyeglasses"] == pytest.approx(agree)
    with pytest.raises(ConfigError, match=r"split=tset.*'test', 'val' or 'train'"):
        go(*words, "split=tset")
