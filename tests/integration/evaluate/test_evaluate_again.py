"""What was measured before is measured again as soon as anything it stands on is another."""

import csv
import re
import shutil
from pathlib import Path

import torch
from PIL import Image

from idinvert.editing.directions import Direction, save_directions
from idinvert.results.record import read_records

AGAIN = ("row=0", "inversion=encoder")


def photos(root, *greys):
    root.mkdir(parents=True, exist_ok=True)
    for number, grey in enumerate(greys):
        Image.new("RGB", (16, 16), (grey, 40, 90)).save(root / f"{number}.png")
    return root


def archived(root, path):
    return Path(shutil.make_archive(str(path), "zip", root))


def names_in(folder):
    with (folder / "per_image.csv").open() as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_edits_along_other_layers_are_other_edits(on_run, outputs, tmp_path):
    vector = torch.nn.functional.normalize(torch.ones(1, 8))
    path = tmp_path / "age.safetensors"
    words = (*AGAIN, "task=manipulation", f"task.directions={path}", "metric.names=[swd]")
    found = []
    for layers in ((0, 1), (4, 5), (4, 5)):
        save_directions(path, [Direction("age", vector, layers)])
        found += on_run(*words)
    assert found[0].metrics["swd"] != found[1].metrics["swd"]
    assert found[0].checkpoints["directions"] != found[1].checkpoints["directions"]
    assert found[1].created == found[2].created, "the third time nothing is measured"
    assert len(read_records(outputs / "records.jsonl")) == 2


def test_replaced_images_are_measured_again(on_run, outputs, tmp_path, capsys):
    root = photos(tmp_path / "mine", 10, 60, 110, 160, 210)
    own = (
        f"data.path={root}",
        "data.split={kind:order,test:3}",
        "data.val=1",
        "data.resolution=16",
    )
    for words in (("task=invert", f"images={root}"), ("data=folder", *own, "n=3")):
        photos(root, 10, 60, 110, 160, 210)
        (first,), (same,) = on_run(*AGAIN, *words), on_run(*AGAIN, *words)
        assert same.created == first.created and "measured before" in capsys.readouterr().out
        photos(root, 10, 60, 110, 160, 250)
        (other,) = on_run(*AGAIN, *words)
        assert other.data["fingerprint"] != first.data["fingerprint"]
        assert other.metrics["mse"] != first.metrics["mse"]


def test_verify_reads_again_what_looks_unchanged(on_run, outputs, tmp_path, monkeypatch):
    root = photos(tmp_path / "mine", 10, 60, 110)
    words = (*AGAIN, "task=invert", f"images={root}")
    monkeypatch.setattr("idinvert.data.content.stamp_of", lambda path: (1, 1, 1))
    (first,) = on_run(*words)
    photos(root, 10, 60, 250)
    assert on_run(*words)[0].created == first.created
    (other,) = on_run(*words, "verify=true")
    assert other.metrics["mse"] != first.metrics["mse"]


def test_inversions_of_ones_own_images_never_share_a_folder(on_run, outputs, tmp_path, world):
    one = photos(tmp_path / "A" / "photos", 10, 60)
    other = photos(tmp_path / "B" / "photos", 160, 210, 30)
    packed = archived(photos(tmp_path / "more", 90), tmp_path / "A" / "photos")
    for source in (one, other, packed):
        on_run("inversion=encoder", "task=invert", f"images={source}")
    folders = sorted((outputs / "evaluations" / world.run.name).glob("invert-photos-*"))
    assert sorted(len(names_in(folder)) for folder in folders) == [1, 2, 3]
    for folder in folders:
        assert len(list((folder / "images").iterdir())) == 2 * len(names_in(folder))
        assert re.fullmatch(r"invert-photos-encoder-[0-9a-f]{8}", folder.name)
    own = tmp_path / "elsewhere"
    on_run("inversion=encoder", "task=invert", f"images={one}", f"task.out={own}")
    assert names_in(own) == ["0.png", "1.png"] and (own / "index.html").is_file()
