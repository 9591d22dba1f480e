"""The weights that come with the package: whole, of one piece, small, and good for something."""

import pytest
import torch

from idinvert.checkpoints import bundle
from idinvert.checkpoints.bundle import assets_folder, find_weights
from idinvert.checkpoints.release import fingerprint, load_network, read_header, save_network
from idinvert.cli import trained_gans
from idinvert.cli.evaluate import evaluate
from idinvert.cli.run_defaults import shipped_bundle, with_run, words_of_bundle
from idinvert.config.compose import compose_plain
from idinvert.data.convert import to_float
from idinvert.editing.directions import load_directions
from idinvert.metrics.segmentation import confusion, iou
from idinvert.toy.bedrooms import BEDROOMS
from idinvert.toy.churches import CHURCHES
from idinvert.toy.faces import FACES
from idinvert.toy.towers import TOWERS

ROLES = ("generator", "discriminator", "encoder", "attributes", "segmenter")
RENDERERS = {one.name: one for one in (FACES, TOWERS, BEDROOMS, CHURCHES)}
BUNDLES = {folder.name: folder.name.removesuffix("_64") for folder in assets_folder().glob("*")}
EXAMPLES = {
    "faces_mini": {"eyeglasses", "smile", "age"},
    "faces_mini_64": {"eyeglasses", "gender", "age", "smile", "hair_lightness"},  # the demo's
    "towers_mini": {"clouds", "sunlight", "vegetation"},  # those of the paper's figures, from here
    "bedrooms_mini": {"lighting", "wood"},
    "churches_mini": {"spire", "daylight"},
}
UNSEEN = 80_000  # the first index that no split of a domain holds


def path_of(role, domain):
    return find_weights(f"shipped:{domain}", role=role, key="path")


def load(role, domain):
    return load_network(path_of(role, domain), expect=role, key="path")


@pytest.fixture(scope="module", params=BUNDLES)
def domain(request):
    return request.param


@pytest.fixture(scope="module")
def networks(domain):
    return {role: load(role, domain) for role in ROLES}


@pytest.fixture(scope="module")
def resolution(domain):
    return 64 if domain.endswith("_64") else 32


@pytest.fixture(scope="module")
def images(domain, resolution):
    """16 images in [-1, 1] that no network has seen, and their labels."""
    renderer = RENDERERS[BUNDLES[domain]]
    labels = renderer.sample_labels(torch.arange(UNSEEN, UNSEEN + 16), seed=0)
    return to_float(renderer.render(labels, resolution=resolution)[0]), labels


def test_they_fit_one_another(domain, resolution, networks, images):
    generator, encoder = networks["generator"], networks["encoder"]
    x, _ = images
    assert networks["discriminator"].architecture["resolution"] == resolution
    assert generator.resolution == resolution
    assert networks["attributes"].resolution == generator.resolution
    codes = encoder(x)
    assert codes.shape == (16, generator.num_layers, generator.w_dim)
    assert generator.synthesis(codes).shape == x.shape
    assert networks["discriminator"](x).shape == (16,)
    stands_on = read_header(path_of("encoder", domain)).provenance["stands_on"]
    for role in ("generator", "discriminator"):
        assert stands_on[role] == fingerprint(path_of(role, domain))


def test_the_directions_belong_to_the_generator(domain, networks):
    generator = networks["generator"]
    found = load_directions(
        path_of("directions", domain),
        num_layers=generator.num_layers,
        w_dim=generator.w_dim,
        generator=fingerprint(path_of("generator", domain)),
    )
    assert EXAMPLES[domain] <= set(found) <= set(networks["attributes"].names)
    for direction in found.values():
        assert {"generator", "command", "commit"} <= set(direction.provenance)


@pytest.mark.parametrize("role", ROLES)
def test_each_says_how_it_came_about(role, domain):
    provenance = read_header(path_of(role, domain)).provenance
    assert "train.py" in provenance["command"] or "idinvert" in provenance["command"]
    assert len(provenance["commit"].rstrip("+")) >= 7
    assert isinstance(provenance["seed"], int) and provenance["nimg"] > 0
    assert provenance["data"] == BUNDLES[domain]


def test_data_and_resolution_select_a_bundle(domain, resolution):
    chosen = [f"data={BUNDLES[domain]}", f"scale.resolution={resolution}"]
    path = f"shipped:{domain}"
    assert words_of_bundle(path) == chosen
    for program in ("train", "evaluate"):
        config = compose_plain(program, chosen)
        found = [config["generator"], config["attributes"], config["perceptual"]["network"]]
        found += [config["encoder"], config["segmenter"]] if program == "evaluate" else []
        assert {node["path"] for node in found} == {path}
    run = read_header(path_of("encoder", domain)).provenance["run"]
    assert shipped_bundle(run) == path
    config = with_run(compose_plain("evaluate", [f"run={run}"]), given={"run": ["run"]})
    assert config["data"]["resolution"] == resolution
    roles = ("encoder", "generator", "attributes", "segmenter")
    assert {config[role]["path"] for role in roles} == {path}


def test_all_together_are_small():
    sizes = [path.stat().st_size for path in assets_folder().rglob("*") if path.is_file()]
    assert sum(sizes) < 31e6


def test_the_encoder_sees_more_than_the_mean_image(networks, images):
    generator, (x, _) = networks["generator"], images
    rebuilt = generator.synthesis(networks["encoder"](x)).clamp(-1, 1)
    mean_image = generator.synthesis(generator.w_avg[None]).clamp(-1, 1)
    error, of_mean = ((y - x).square().mean().item() for y in (rebuilt, mean_image))
    assert error < 0.7 * of_mean


def test_the_attribute_network_reads_labels(networks, images):
    network, (x, labels) = networks["attributes"], images
    read = network.predict(x)
    kinds = [
        torch.corrcoef(torch.stack([read[:, i], labels[:, i]]))[0, 1]
        for i, kind in enumerate(network.kinds)
        if kind == "continuous"
    ]
    assert torch.stack(kinds).nanmean() > 0.8


def test_the_segmenter_reads_masks(domain, resolution, networks):
    renderer, network = RENDERERS[BUNDLES[domain]], networks["segmenter"]
    labels = renderer.sample_labels(torch.arange(UNSEEN, UNSEEN + 64), seed=0)
    pictures, masks = renderer.render(labels, resolution=resolution)
    assert network.classes == renderer.mask_classes
    counts = confusion(masks, network.segment(to_float(pictures)), classes=len(network.classes))
    assert iou(counts).nanmean() > 0.8 and iou(counts)[counts.sum(1) > 500].min() > 0.6


def test_no_other_run_id_is_answered_to():
    assert shipped_bundle("nothing000") is None


def test_a_shipped_run_brings_its_networks_to_other_images():
    run = read_header(find_weights("shipped:faces_mini", role="encoder", key="run")).provenance[
        "run"
    ]
    words = [f"run={run}", "data=folder", "data.path=FOLDER"]
    given = {"run": ["run"], "data": ["data", "data.path"]}
    config = with_run(compose_plain("evaluate", words), given=given)
    assert config["data"]["path"] == "FOLDER"
    assert config["generator"]["path"] == "shipped:faces_mini"
    assert config["attributes"]["path"] == "shipped:faces_mini"


def test_shipped_encoders_of_every_domain_answer_to_their_run_ids(tmp_path, monkeypatch):
    path = find_weights("shipped:faces_mini", role="encoder", key="run")
    encoder, facts = load_network(path, key="run"), read_header(path).provenance
    generator = load("generator", "faces_mini")
    for folder, data, run in (
        ("faces_mini", "faces_mini", "aaaaaaaaaa"),
        ("towers", "towers_mini", "bbbbbbbbbb"),
    ):
        provenance = {**facts, "data": data, "run": run}
        save_network(encoder, tmp_path / folder / "encoder.safetensors", provenance=provenance)
        save_network(generator, tmp_path / folder / "generator.safetensors", provenance=provenance)
    for module in (trained_gans, bundle):
        monkeypatch.setattr(module, "assets_folder", lambda: tmp_path)
    given = {"run": ["run"]}
    config = with_run(compose_plain("evaluate", ["run=bbbbbbbbbb"]), given=given)
    assert config["data"]["_target_"].endswith("towers_mini")
    assert config["encoder"]["path"] == config["generator"]["path"] == "shipped:towers"
    assert config["perceptual"]["network"]["path"] == "shipped:towers_mini"


@pytest.mark.parametrize("data", ["faces_mini", "towers_mini", "bedrooms_mini", "churches_mini"])
def test_every_miniature_domain_has_a_network_that_reads_its_labels(tmp_path, data):
    words = ["task=attributes", f"data={data}", "data.train=4", "data.val=4", "data.test=64"]
    words += ["batch_size=32", "n=64", f"system.outputs={tmp_path}"]
    (record,) = evaluate(compose_plain("evaluate", words))
    assert record.n == 64
    assert record.metrics["agreement"] > 0.97 and record.metrics["correlation"] > 0.9
    config = compose_plain("train", [f"data={data}"])
    assert config["perceptual"]["network"]["path"] == f"shipped:{data}"
