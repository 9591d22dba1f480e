"""A data set in chunks of images, with a file of results per chunk: a killed task can resume."""

import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from idinvert import durable
from idinvert.checkpoints.tensor_file import tensors_hash, write_tensors
from idinvert.data.domain import Domain
from idinvert.errors import ConfigError, DataError
from idinvert.untrusted import parse_json, read_json

SPLITS = ("train", "val", "test")
FORMAT = "idinvert-part-1"
Span = tuple[int, int]
"""(first, last): the images first … last − 1."""
Row = tuple[Path, int]
"""A part's file, and the index of an image in it."""


def spans(count: int, *, size: int) -> list[Span]:
    """Cut 0 … count − 1 into chunks of `size`; the last one may be shorter."""
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def size_there(folder: Path, *, count: int) -> int | None:
    """Return the chunk size of the parts in a folder; None if there are too few to tell.

    Args:
        folder: folder of parts.
        count: total number of images.
    """
    places = [path.stem.split("-")[1:] for path in folder.glob("part-*.safetensors")]
    sizes = [int(last) - int(first) for first, last in places]
    return max(sizes) if len(sizes) > 1 or sizes == [count] else None


def runs(chunks: Sequence[Span]) -> list[Span]:
    """Merge adjacent chunks: return spans without gaps, in order."""
    found: list[Span] = []
    for first, last in chunks:
        begin = found.pop()[0] if found and found[-1][1] == first else first
        found.append((begin, last))
    return found


def limit(dataset: Dataset, n: int | None) -> int:
    """Return n, or the size of the data set if n is None.

    Raises:
        DataError: there are fewer than `n` images, or none.
    """
    there = len(dataset)  # type: ignore[arg-type]
    if (n is not None and n > there) or there == 0 or (n is not None and n < 1):
        raise DataError(
            f"asked for n={n} images, but the split has {there}; change n, or the split's size "
            "(data)"
        )
    return there if n is None else n


def split_of(domain: Domain, split: str) -> Dataset:
    """Return a split of a domain by its name.

    Raises:
        ConfigError: There is no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"split={split} is unknown: expected train, val or test")
    return getattr(domain, split)


class Chunks(Dataset[dict[str, Any]]):
    """Whole chunks as items, for a DataLoader with `batch_size=None`: never padded or mixed.

    Args:
        dataset: items with `image` uint8 [3, R, R], `id` and `name`.
        chunks: the span of each item.
    """

    def __init__(self, dataset: Dataset, chunks: Sequence[Span]) -> None:
        self.dataset = dataset
        self.chunks = list(chunks)

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Return the batch of chunk k: `image` uint8 [n, 3, R, R], `id`, `index` int64 [n], `name`.

        Also `attributes` and `mask`, if the items have them.
        """
        first, last = self.chunks[k]
        items = [
            {"index": i, "image": item["image"], "id": item["id"], "name": str(item["name"])}
            | {key: item[key] for key in ("attributes", "mask") if key in item}
            for i in range(first, last)
            for item in [self.dataset[i]]
        ]
        return default_collate(items)


@dataclass(frozen=True)
class Part:
    """The inversions of the images `index` of a data set.

    Attributes:
        index: index in the data set, int64 [n].
        ids: stable ids, int64 [n].
        names: names of the images.
        codes: float32 [n, L, w_dim].
        images: reconstructions, uint8 [n, 3, R, R].
        losses: float32 [steps + 1, n].
        best_step: int64 [n].
        failed: bool [n].
        terms: the losses' weighted terms by name, each [steps + 1, n].
        values: paired metrics of the float images by name, each [n].
        start_images: reconstructions at the starting point, uint8 [n, 3, R, R], if kept.
        noise: the noise maps of G by their index, each [n or 1, 1, h, w]; empty for G's own
            buffers or no noise.
        z: the codes' z, float32 [n, z_dim], if z was optimised.
    """

    index: Tensor
    ids: Tensor
    names: list[str]
    codes: Tensor
    images: Tensor
    losses: Tensor
    best_step: Tensor
    failed: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    start_images: Tensor | None = None
    noise: dict[int, Tensor] = field(default_factory=dict)
    z: Tensor | None = None


def part_path(folder: Path, first: int, last: int) -> Path:
    """Return the file of the images first … last − 1."""
    return folder / f"part-{first:08d}-{last:08d}.safetensors"


def write_part(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    names: list[str],
    identity: Mapping[str, Any],
    seconds: float,
    device: str,
    contents: Sequence[str] = (),
) -> None:
    """Write the results of a chunk atomically: the part is either complete or missing.

    The file's bytes depend on the results alone; seconds and device are in a small file beside it.

    Args:
        path: from `part_path`.
        tensors: by name, on any device; those of inversions are named as in `read_part`.
        names: names of the images.
        identity: what determines the result, JSON-able; a part of another identity is not reused.
        seconds: duration of the work.
        device: description of the device.
        contents: hash of each image's pixels, by which other data sets may reuse its row.

    Raises:
        OutputError: the file cannot be written; earlier parts remain unchanged.
    """
    whole = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    facts = {"format": FORMAT, "identity": identity, "names": names}
    facts |= {"sha256": tensors_hash(whole)}
    facts |= {"contents": list(contents)} if contents else {}
    durable.write(path.with_suffix(".json"), json.dumps({"seconds": seconds, "device": device}))
    write_tensors(path, whole, metadata={"part": json.dumps(facts, sort_keys=True)})


def has_part(path: Path, *, identity: Mapping[str, Any], needs: Collection[str]) -> bool:
    """Return whether there is a part of this identity with all the tensors in `needs`.

    A damaged file counts as missing, with a warning.

    Raises:
        ConfigError: the part has another identity.
    """
    if not path.is_file():
        return False
    try:
        facts, there = _read_facts(path)
        theirs = dict(facts.get("identity") or {})
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        warnings.warn(f"{path} cannot be read ({error}) and is made again", stacklevel=2)
        return False
    ours = json.loads(json.dumps(identity))
    if theirs != ours:
        changed = [k for k in sorted({*theirs, *ours}) if theirs.get(k) != ours.get(k)]
        raise ConfigError(
            f"{path.parent} holds results of another evaluation ({', '.join(changed)} differ): "
            "set recompute=true to replace them"
        )
    if not set(needs) <= there:
        return False
    if read_whole(path) is None:
        warnings.warn(f"{path} is damaged and is made again", stacklevel=2)
        return False
    return True


def known_rows(
    paths: Iterable[Path],
    *,
    contents: Sequence[str],
    ids: Sequence[int],
    identity: Mapping[str, Any],
    needs: Collection[str],
) -> dict[int, Row]:
    """Find images that were already inverted as part of other data sets.

    Args:
        paths: parts; unreadable ones are skipped.
        contents, ids: of the images, in order. Ids are compared only if something is drawn by
            them: then the method's settings have a seed.
        identity: see `write_part`; the images of the set are ignored.
        needs: tensors that a part must have.

    Returns:
        Index in the data set to the row with its results.
    """
    ours, drawn = _without_set(identity), "seed" in identity["inversion"]
    rows: dict[tuple[str, int], Row] = {}
    for path in paths:
        try:
            facts, there = _read_facts(path)
            if set(needs) <= there and _without_set(facts["identity"]) == ours:
                keys = zip(facts["contents"], read_tensor(path, "ids").tolist(), strict=True)
                rows |= {(mark, i * drawn): (path, row) for row, (mark, i) in enumerate(keys)}
        except (OSError, SafetensorError, ValueError, TypeError, KeyError):
            continue
    wanted = [(mark, i * drawn) for mark, i in zip(contents, ids, strict=True)]
    return {place: rows[key] for place, key in enumerate(wanted) if key in rows}


def _read_facts(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Return a part's metadata and the names of its tensors."""
    with safe_open(path, framework="pt") as file:
        return dict(parse_json((file.metadata() or {}).get("part", "{}"))), set(file.keys())


def _without_set(identity: Mapping[str, Any]) -> dict[str, Any]:
    found = json.loads(json.dumps(identity))
    return {**found, "data": {**found["data"], "fingerprint": None}, "ids": None}


def read_row(path: Path, place: int) -> tuple[dict[str, Tensor], float, str] | None:
    """Return one image of a part: its tensors, its seconds, and a description of its device.

    None if the part is missing or damaged by now.
    """
    if (tensors := read_whole(path)) is None:
        return None
    device = read_device(path) or "not noted"
    return row_of(tensors, place), read_seconds(path) / len(tensors["ids"]), device


def read_whole(path: Path) -> dict[str, Tensor] | None:
    """Return all tensors of a part; None if it is damaged or its seconds are not stored.

    Parts of older versions, which have no hash of their tensors, are accepted unchecked.
    """
    try:
        facts, names = _read_facts(path)
        tensors = {name: read_tensor(path, name) for name in sorted(names)}
    except (OSError, SafetensorError, ValueError, TypeError):
        return None
    whole = facts.get("sha256") in (None, tensors_hash(tensors)) and _read_notes(path)
    return tensors if whole else None


def row_of(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    """Return one image of a part's tensors; a tensor with a single row is shared by all images."""
    return {
        name: tensor.narrow(at, place if tensor.shape[at] > 1 else 0, 1).clone().cpu()
        for name, tensor in tensors.items()
        for at in [_along(name)]
    }


def joined(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join the tensors of images to those of a part; omit tensors that some images lack."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: torch.cat([row[name] for row in rows], dim=_along(name)) for name in names}


def _along(name: str) -> int:
    """Return the dimension that indexes images."""
    return 1 if name == "losses" or name.startswith("term.") else 0


def read_part(path: Path) -> Part:
    """Read the inversions of a part that `has_part` found.

    Its tensors are named like the fields of `Part`, those of dictionaries `term.<name>`,
    `value.<name>` and `noise.<index>`.
    """
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["part"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    terms = {k.removeprefix("term."): v for k, v in tensors.items() if k.startswith("term.")}
    values = {k.removeprefix("value."): v for k, v in tensors.items() if k.startswith("value.")}
    noise = {int(k[6:]): v for k, v in tensors.items() if k.startswith("noise.")}
    plain = {k: v for k, v in tensors.items() if "." not in k}
    return Part(names=facts["names"], terms=terms, values=values, noise=noise, **plain)


def read_tensor(path: Path, name: str) -> Tensor:
    """Read one tensor of a part."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def read_rows(path: Path, name: str, rows: Sequence[int]) -> Tensor | None:
    """Read some rows of one tensor of a part; None if it has no such tensor.

    A tensor with a single row, which all images share, repeats that row.
    """
    with safe_open(path, framework="pt") as file:
        if name not in file.keys():  # noqa: SIM118
            return None
        found = file.get_slice(name)
        if found.get_shape()[0] == 1:
            return found[0:1].expand(len(rows), *found.get_shape()[1:])
        return torch.stack([found[row] for row in rows])


def read_seconds(path: Path) -> float:
    """Return how many seconds the work of a part took, which `has_part` found."""
    return float(_read_notes(path)["seconds"])


def read_device(path: Path) -> str | None:
    """Return the description of a part's device; None if it was not stored."""
    return _read_notes(path).get("device")


def _read_notes(path: Path) -> dict[str, Any]:
    """Read the JSON file beside a part; empty if it is missing or damaged."""
    try:
        found = dict(read_json(path.with_suffix(".json")))
        whole = isinstance(found.get("seconds"), int | float)
        return found if whole and isinstance(found.get("device", ""), str) else {}
    except (OSError, ValueError, TypeError):
        return {}
