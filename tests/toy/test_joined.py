"""The four domains as one: whose image is where, with which label, rendered once for all."""

from itertools import islice

import torch

from idinvert.data.datamodule import StreamSampler
from idinvert.data.domain import ids_of, names_of
from idinvert.toy import miniature
from idinvert.toy.joined import all_mini

CLASSES = ("faces", "towers", "bedrooms", "churches")


def small(cache, **changes):
    settings = {"resolution": 16, "train": 6, "test": 3, "val": 2, "cache_dir": cache}
    return all_mini(**{**settings, **changes})


def test_images_of_the_domains_take_turns_and_keep_their_labels(tmp_path):
    joined = small(tmp_path)
    assert joined.classes == CLASSES and len(joined.test) == 12
    parts = [
        getattr(miniature, f"{name}_mini")(
            resolution=16, train=6, test=3, val=2, cache_dir=tmp_path
        )
        for name in CLASSES
    ]
    assert [a.name for a in joined.attributes] == [
        f"{name}_{a.name}"
        for name, part in zip(CLASSES, parts, strict=True)
        for a in part.attributes
    ]
    starts = [0, *torch.tensor([len(part.attributes) for part in parts]).cumsum(0).tolist()]
    for split in ("train", "test"):
        whole = getattr(joined, split)
        items = [whole[i] for i in range(len(whole))]
        assert ids_of(whole) == [item["id"] for item in items]
        assert names_of(whole) == [item["name"] for item in items]
        for i, item in enumerate(items):
            place, k = divmod(i, 4)
            own = getattr(parts[k], split)[place]
            assert item["class"] == k and torch.equal(item["image"], own["image"])
            known = torch.zeros(starts[-1], dtype=torch.bool)
            known[starts[k] : starts[k + 1]] = True
            assert torch.equal(item["attributes"][known], own["attributes"])
            assert item["attributes"][~known].isnan().all()
    every = [item for part in (joined.train, joined.val, joined.test) for item in ids_of(part)]
    assert len(set(every)) == len(every) == 44


def test_its_fingerprint_and_caches_are_those_of_the_domains(tmp_path):
    prints = {small(tmp_path, **c).fingerprint for c in ({}, {"train": 5}, {"seed": 1}, {})}
    assert len(prints) == 3
    small(tmp_path).test[1]
    assert [path.name.split("-")[0] for path in tmp_path.glob("*.npy")] == ["towers_mini"]


def test_batches_are_handed_on_as_they_come_once_their_images_are_rendered(tmp_path):
    split = small(tmp_path).train
    sampler = StreamSampler(length=len(split), batch_size=3, seed=0)
    expected = list(islice(iter(sampler), 300))
    followed = split.follow(iter(sampler), workers=1, told=False)
    assert list(islice(followed, 300)) == expected
    followed.close()
    assert {path.suffix for path in tmp_path.glob("*.images.*")} == {".npy"}  # all are complete
    split.prepare_part([0, 1])
    assert split[5]["class"] == 1
