"""Every task of `evaluate.py` on a tiny run: it composes, runs on a CPU and keeps its records."""

import re

import pytest
import torch
from PIL import Image

from idinvert.checkpoints.release import fingerprint
from idinvert.editing.directions import Direction, save_directions
from idinvert.errors import CheckpointError, ConfigError, DataError
from idinvert.evaluation import inversion_module as module
from idinvert.results.record import read_records

FEW = ("n=4", "metric.names=[swd,fd_attributes]", "inversion=encoder")


@pytest.fixture
def directions(world, tmp_path):
    """A file of two directions for the tiny GAN."""
    rng = torch.Generator().manual_seed(0)
    of = {"generator": fingerprint(world.gan / "weights" / "generator.safetensors")}
    vectors = torch.nn.functional.normalize(torch.randn(2, 1, 8, generator=rng), dim=2)
    found = [
        Direction(name, v, None, of) for name, v in zip(("pose", "smile"), vectors, strict=True)
    ]
    path = tmp_path / "directions.safetensors"
    save_directions(path, found)
    return path


@pytest.fixture
def batches(monkeypatch):
    """How many images each batch that was inverted had."""
    seen: list[int] = []
    step = module.InversionModule.predict_step

    def counted(self, batch, k):
        seen.append(len(batch["image"]))
        return step(self, batch, k)

    monkeypatch.setattr(module.InversionModule, "predict_step", counted)
    return seen


def pictures(record_or_folder):
    return {path.name for path in record_or_folder.rglob("*.p[nd][gf]")}


def test_tasks_on_codes_invert_once(on_run, outputs, directions, batches):
    tasks = {
        "reconstruction": [],
        "interpolation": ["task.shown=2"],
        "manipulation": [f"task.directions={directions}", "task.steps=[-1,1]"],
        "control": [f"task.directions={directions}", "task.by=[-1,1]", "task.limit=1"],
        "mixing": ["task.first=2", "task.shown=2"],
        "semantics": [f"task.directions={directions}"],
        "failures": ["task.worst=2"],
    }
    for task, words in tasks.items():
        (record,) = on_run(f"task={task}", *FEW, *words)
        assert (record.task, record.n) == (task, 4)
        assert record.metrics
        assert record.choices["inversion"]["name"] == "encoder"
        missing = set(record.metrics) - set(record.protocol)
        assert missing <= {"swd_16", "kd_attributes_std", "agreement", "correlation"}
    assert batches == [4], "seven tasks, one batch"
    assert [record.task for record in read_records(outputs / "records.jsonl")] == list(tasks)
    for task in ("interpolation", "manipulation", "control", "mixing", "failures"):
        (folder,) = (outputs / "evaluations").glob(f"*/{task}-faces_mini-test-encoder-*")
        assert pictures(folder) == {"pictures.png", "pictures.pdf"}


def test_recompute_makes_the_outputs_again_and_keeps_the_inversions(on_run, batches):
    (first,) = on_run("task=interpolation", *FEW)
    (again,) = on_run("task=interpolation", *FEW, "recompute=true")
    assert again.metrics == first.metrics and batches == [4]


def test_diffusion_in_two_sizes(on_run, outputs):
    words = ["task=diffusion", "inversion=diffusion", "inversion.steps=1", "task.sizes=[4,8]"]
    records = on_run(*FEW[:2], *words, "task.images=[0,1]")
    assert [record.choices["inversion"]["size"] for record in records] == [4, 8]
    (folder,) = (outputs / "evaluations").glob("*/diffusion-*")
    names = {"pictures.png", "pictures.pdf", "crop_size.png", "crop_size.pdf"}
    assert pictures(folder) == names
    with pytest.raises(ConfigError, match="takes inversion=diffusion, not inversion=encoder"):
        on_run("task=diffusion", *FEW)


def test_foreign_images(on_run, outputs, world):
    methods = "[{label: E, words: 'inversion=encoder'}, {label: I2S, words: 'inversion=image2stylegan inversion.steps=1 inversion.lambda_vgg=0'}]"  # noqa: E501
    records = on_run(
        "task=out_of_domain", "data.seed=9", "n=2", f"task.methods={methods}",
        "metric.names=[swd]", "task.own='data.seed=0'",
    )  # fmt: skip
    assert [r.choices["inversion"]["name"] for r in records] == ["encoder", "image2stylegan"]
    assert {r.choices["task"]["trained_on"] for r in records} == {"faces_mini"}
    assert all(r.metrics["own_swd"] > 0 for r in records)
    assert "encoder" not in records[1].checkpoints and records[1].run != records[0].run
    (folder,) = (outputs / "evaluations").glob("*/out_of_domain-*")
    assert pictures(folder) == {"pictures.png", "pictures.pdf"}


def test_own_pictures_show_what_is_asked_for(on_run, directions, tmp_path, capsys):
    for k, name in enumerate(("anna", "ben")):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=torch.Generator().manual_seed(k))
        picture = Image.fromarray(pixels.to(torch.uint8).numpy())
        (tmp_path / "mine").mkdir(exist_ok=True)
        picture.save(tmp_path / "mine" / f"{name}.png")
    words = [f"images={tmp_path / 'mine'}", f"task.directions={directions}", "inversion=encoder"]
    out = tmp_path / "edited"
    for _ in range(2):
        (record,) = on_run(
            "task=control", "task.by=[0.1,80]", "task.limit=4", f"task.out={out}", *words
        )
    assert record.n == 2 and record.choices["task"]["images"] == "own"
    assert record.series["asked"] == [0.1, 80] and "reads" not in record.metrics
    pose = {path.name for path in out.glob("*_pose*.png")}
    assert {f"{name}_pose+80deg_not_reached.png" for name in ("anna", "ben")} < pose
    assert len(pose) == 4 and (out / "control.csv").is_file() and (out / "index.html").is_file()
    said = capsys.readouterr().out
    assert "anna.png: pose +80°: not reached, from" in said and "no metrics" not in said
    with pytest.raises(ConfigError, match=r"'pose'"):
        on_run("task=control", "task.attribute=poze", "task.by=1", *words)


def test_a_map_of_codes(on_run, outputs):
    methods = "[{label: E, words: 'inversion=encoder'}, {label: I2S, words: 'inversion=image2stylegan inversion.steps=1 inversion.lambda_vgg=0'}]"  # noqa: E501
    records = on_run("task=codes_map", "n=4", f"task.methods={methods}")
    assert [r.choices["task"]["label"] for r in records] == ["E", "I2S"]
    assert all(0 <= r.metrics["outside"] <= 1 and len(r.series["x"]) == 4 for r in records)
    (folder,) = (outputs / "evaluations").glob("*/codes_map-*")
    assert pictures(folder) == {"pictures.png", "pictures.pdf"}


def test_untrained_encoders(go, world, outputs):
    generators = f"[{{label: G, words: 'generator=checkpoint generator.path={world.gan}'}}]"
    records = go(
        "task=initial", f"task.generators={generators}", "n=4", "batch_size=4",
        f"attributes.path={world.attributes}", f"perceptual.network.path={world.attributes}",
        "data.train=16", "data.val=4", "data.test=8", "data.resolution=16",
        "metric.names=[mse,swd]", "task.shown=2",
    )  # fmt: skip
    assert [record.choices["latent"]["offset"] for record in records] == ["none", "w_avg"]
    assert all(record.choices["encoder"]["name"] == "base" for record in records)
    assert all(record.metrics["distance_to_w_avg"] > 0 for record in records)
    assert pictures(outputs / "evaluations") == {"pictures.png", "pictures.pdf"}


def test_samples_of_a_generator(go, on_run, world, outputs):
    words = [
        "task=samples", "n=4", "batch_size=3", "metric.names=[swd,fd_attributes]",
        "data.train=16", "data.val=4", "data.test=8", "data.resolution=16",
        f"attributes.path={world.attributes}", f"perceptual.network.path={world.attributes}",
    ]  # fmt: skip
    (record,) = go("generator=checkpoint", f"generator.path={world.gan}", *words)
    assert record.run == world.gan.name and record.nimg > 0
    assert "inversion" not in record.choices and "encoder" not in record.checkpoints
    assert record.choices["task"] == {"truncation": 1.0, "seed": 0}
    (folder,) = (outputs / "evaluations" / record.run).glob("samples-faces_mini-test-prior-*")
    assert pictures(folder) == {"pictures.png", "pictures.pdf"}
    (of_run,) = on_run("task=samples", "n=4", "metric.names=[swd,fd_attributes]")
    assert of_run.run == record.run, "an encoder's run brings its generator"
    assert of_run.metrics == pytest.approx(record.metrics)
    networks = [word for word in words if ".path=" in word]
    (of_gan,) = go(f"run={world.gan}", "task=samples", "n=4", "metric.names=[swd]", *networks)
    assert of_gan.run == record.run and of_gan.data["resolution"] == 16, "the GAN's own data"
    with pytest.raises(ConfigError, match="the run=RUN of an encoder"):
        go(f"run={world.gan}", *networks)
    with pytest.raises(ConfigError, match=r"metric\.names"):
        go("generator=checkpoint", f"generator.path={world.gan}", *words, "metric.names=[mse]")


@pytest.mark.parametrize("show", ["reconstruction", "interpolation", "manipulation"])
def test_a_gallery_shows_what_can_be_shown(on_run, outputs, directions, capsys, show):
    methods = [
        "{label: 'E(x)', words: 'inversion=encoder'}",
        "{label: chosen, words: 'inversion=encoder', where: {choices.objective: domain_guided}}",
        "{label: gone, words: 'inversion=encoder', where: {choices.objective: nothing}}",
    ]
    words = [f"task.methods=[{', '.join(methods)}]", f"task.directions={directions}"]
    records = on_run("task=gallery", f"task.show={show}", "task.images=[1,3]", *words)
    assert records == []
    assert pictures(outputs / "figures" / "gallery") == {"pictures.png", "pictures.pdf"}
    said = capsys.readouterr().out
    assert re.search(r"not shown: gone: run=\S+ does not fit choices.objective=nothing", said)


def test_a_gallery_of_an_encoder_that_was_typed(on_run, go, world, outputs, capsys):
    """As with run=RUN: a section's clauses on networks do not count, a method's do.

    The section's data, which has 32 px, takes the 16 px of the generator.
    """
    weights = world.run / "weights"
    methods = "{label: E, words: 'inversion=encoder', where: {choices.objective: OBJECTIVE}}"
    sections = (
        "{label: S, words: 'data=faces_mini data.train=16 data.val=4 data.test=8',"
        " where: {data.name: faces_mini, choices.latent.offset: nothing}}"
    )
    words = ["task=gallery", "task.images=[1,3]", f"task.sections=[{sections}]"]
    words += ["generator=checkpoint", f"generator.path={world.gan}", "data.resolution=16"]
    words += [f"encoder.path={weights / 'encoder.safetensors'}"]
    typed = [*words, f"task.methods=[{methods.replace('OBJECTIVE', 'domain_guided')}]"]
    assert go(*typed) == [] == on_run(*typed[:3], typed[-1])
    assert pictures(outputs / "figures" / "gallery") == {"pictures.png", "pictures.pdf"}
    with pytest.raises(ConfigError, match=r"encoder\.path does not fit .*objective=gone"):
        go(*words, f"task.methods=[{methods.replace('OBJECTIVE', 'gone')}]")


def test_a_gallery_refuses_what_makes_no_sense(on_run):
    with pytest.raises(ConfigError, match=r"task\.methods\[0\]\.wrods is unknown.*'words'"):
        on_run("task=gallery", "task.methods=[{label: a, wrods: 'inversion=encoder'}]")
    with pytest.raises(ConfigError, match=r"task\.methods\[0\]\.words: .*'encoder'"):
        on_run("task=gallery", "task.methods=[{label: a, words: 'inversion=encodr'}]")
    with pytest.raises(ConfigError, match=r"task\.methods is empty"):
        on_run("task=gallery", "task.methods=[]")
    with pytest.raises(ConfigError, match=r"task\.show=photos"):
        on_run("task=gallery", "task.show=photos")
    with pytest.raises(DataError, match=r"names image 8, but split=test of faces_mini has 8"):
        on_run("task=gallery", "task.images=[8]")
    with pytest.raises(
        ConfigError, match=r"nothing can be shown: a: run=\S+ does not fit run=nobody"
    ):
        on_run("task=gallery", "task.methods=[{label: a, where: {run: nobody}}]")


def test_directions_that_do_not_fit_are_refused(on_run, directions, tmp_path):
    task = ["task=manipulation", *FEW]
    with pytest.raises(ConfigError, match=r"there is no direction psoe.*'pose'"):
        on_run(*task, f"task.directions={directions}", "task.names=[psoe]")
    with pytest.raises(ConfigError, match=r"task=directions generator=checkpoint"):
        on_run(*task)
    with pytest.raises(ConfigError, match=r"task.method=sefa"):
        on_run(*task, "task.directions=sefa")
    wide = torch.nn.functional.normalize(torch.ones(1, 9))
    save_directions(tmp_path / "wide.safetensors", [Direction("wide", wide)])
    with pytest.raises(CheckpointError, match=r"\[1, 9\]"):
        on_run(*task, f"task.directions={tmp_path / 'wide.safetensors'}")
    with pytest.raises(DataError, match="asked for n=9 images, but the split has 8"):
        on_run(*task, f"task.directions={directions}", "n=9")
    with pytest.raises(ConfigError, match="got n=1, expected 2 or more: fd_attributes"):
        on_run("task=interpolation", *FEW, "n=1")
    with pytest.raises(DataError, match="there are 1: set n=2"):
        on_run("task=interpolation", *FEW, "n=1", "metric.names=[swd]")


@pytest.mark.parametrize("method", ["sefa", "ganspace"])
def test_directions_without_attributes(go, on_run, world, outputs, method):
    gan = ["generator=checkpoint", f"generator.path={world.gan}", "data.resolution=16"]
    words = [f"task.method={method}", "task.count=2", "task.samples=50", "~attributes"]
    assert go("task=directions", *gan, *words) == []
    (record,) = on_run("task=manipulation", *FEW, f"task.directions={method}", "task.shown=1")
    assert record.choices["task"]["directions"] == [f"{method}00", f"{method}01"]
    assert "moved" not in record.metrics


def test_a_method_without_an_encoder_needs_only_a_generator(go, world, outputs):
    words = [
        "generator=checkpoint", f"generator.path={world.gan}", "encoder.path=null",
        "inversion=free", "inversion.steps=1", "inversion.lambda_vgg=0", "n=2", "batch_size=2",
        f"attributes.path={world.attributes}", f"perceptual.network.path={world.attributes}",
        "metric.names=[mse]", "data.train=16", "data.val=4", "data.test=8", "data.resolution=16",
    ]  # fmt: skip
    (record,) = go("task=reconstruction", *words)
    assert "encoder" not in record.checkpoints and record.choices["generator"]["name"]
    assert record.choices["inversion"]["name"] == "free"
    of = fingerprint(world.gan / "weights" / "generator.safetensors")
    assert record.checkpoints["generator"] == of
    with pytest.raises(ConfigError, match="inversion=in_domain takes an encoder: give the run"):
        go("task=reconstruction", *words[:3], *words[6:], "inversion=in_domain")
