"""Every other door for files of strangers: native weights and directions, F, records, images."""

import contextlib
import io
import json
import os
import random
import socket
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from idinvert.checkpoints import tensor_file
from idinvert.checkpoints.bundle import find_weights
from idinvert.checkpoints.checkpoint import open_checkpoint
from idinvert.checkpoints.formats.read import read_state_dict
from idinvert.checkpoints.release import load_network, read_header, save_network
from idinvert.data.decode import decode
from idinvert.data.source import open_source
from idinvert.editing.direction_files import open_directions
from idinvert.editing.directions import Direction, save_directions
from idinvert.editing.masks import read_mask
from idinvert.errors import CheckpointError, ConfigError, DataError, IdinvertError, Note
from idinvert.evaluation.chunk_store import has_part, read_device, write_part
from idinvert.evaluation.codes_file import Codes, read_codes
from idinvert.networks.attributes import AttributeNetwork
from idinvert.results.record import Record, append, read_records
from idinvert.tracking.run_files import read_rows, read_status
from tests.checkpoints import tiny
from tests.data.pictures import write_lmdb

from .mutate import mutate
from .samples import saved
from .watch import watched

Case = tuple[str, bytes]
Door = tuple[Callable[[Path], Any], type[IdinvertError]]
SECONDS = 3.0
FEW, ALL = 40, 900
ODD = (
    "[]", "{}", "null", "1", '"x"', "[" * 5_000, '{"a":' * 300 + "1" + "}" * 300, "9" * 5_000,
    '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', '{"mapping_depth": 100000000}', "\x1b[2J",
    '{"class": "os.system"}', '{"backbone": {"class": "os.system"}}',
)  # fmt: skip


def header_of(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])


def with_header(content: bytes, header: Any) -> bytes:
    length = int.from_bytes(content[:8], "little")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def lying(content: bytes, rng: random.Random) -> bytes:
    """A whole safetensors file with other metadata, or other numbers in its architecture."""
    header = header_of(content)
    metadata = header["__metadata__"]
    name = rng.choice(sorted(metadata))
    try:
        inner = json.loads(metadata[name])
    except ValueError:
        inner = None
    if isinstance(inner, dict) and inner and rng.random() < 0.7:
        key = rng.choice(sorted(inner))
        inner[key] = rng.choice((None, True, -1, 0, 3, 10**8, 2**40, 10**30, 1e300, "", "x", [], {},
                                 [[]], [10**8] * 3, {"class": "os.system"}))  # fmt: skip
        metadata[name] = json.dumps(inner)
    elif rng.random() < 0.2:
        del metadata[name]
    else:
        metadata[name] = rng.choice(ODD)
    return with_header(content, header)


def recast(content: bytes, rng: random.Random) -> bytes:
    """A whole file with one tensor of another type, shape or value."""
    from safetensors.torch import load

    tensors, header = load(content), header_of(content)
    name = rng.choice(sorted(tensors))
    value = tensors[name].float()
    other = rng.choice((
        value.long(), value > 0, value.to(torch.complex64), value.to(torch.float8_e4m3fn),
        value.double() * 1e300, value * float("nan"), value / 0, value[None], value.flatten()[:0],
        value.bfloat16(), value.double(),
    ))  # fmt: skip
    return save({**tensors, name: other.contiguous()}, header["__metadata__"])


def damaged(valid: dict[str, bytes], count: int, *, native: bool) -> Iterator[Case]:
    names = sorted(valid)
    for index in range(count):
        rng = random.Random(f"doors/{index}")
        name = names[index % len(names)]
        content = valid[name]
        ways = [lambda c, r: mutate(c, valid[r.choice(names)], r)]
        ways += [lying, recast] if native else []
        yield f"{name}, {index}", ways[index // len(names) % len(ways)](content, rng)


def enter(cases: Iterator[Case], door: Door, place: Path, capsys: Any, *, what: str) -> Counter:
    """Opens each file; nothing but the promised error may come of it, quickly."""
    opening, promised = door
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    events: list[str] = []
    slowest = 0.0
    for number, (name, content) in enumerate(cases):
        # A file of its own: an open database stays mapped to memory.
        place = place.with_name(f"{number}{place.suffix}")
        place.write_bytes(content)
        for _ in range(2):  # what a library imports on first use is gone the second time
            begun = time.process_time()
            ending: Exception | None = None
            with watched() as seen:
                try:
                    found = opening(place)
                except Exception as error:
                    ending = error
            slow = time.process_time() - begun
            if not seen and slow < SECONDS:
                break
        place.unlink()
        slowest = max(slowest, slow)
        events += [f"{name}: {event}" for event in seen]
        if ending is None:
            ended["read"] += 1
            tensors = found.state_dict() if isinstance(found, torch.nn.Module) else {}
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                wrong.append(f"{name}: numbers that are not finite, in silence")
        elif isinstance(ending, promised):
            ended["refused"] += 1
            message = str(ending)
            if len(message) > 8_000 or not message.replace("\n", "").isprintable():
                wrong.append(f"{name}: message {message[:300]!r}")
        else:
            wrong.append(f"{name}: {type(ending).__name__}: {str(ending)[:300]}")
    with capsys.disabled():
        print(
            f"\n{ended.total()} {what}: {ended['refused']} refused, {ended['read']} read; "
            f"{len(events)} executions, 0 crashes, {int(slowest > SECONDS)} hangs (slowest "
            f"{slowest:.2f} s), {len(wrong)} other exceptions or wrong in silence"
        )
    assert (events, wrong) == ([], []) and slowest < SECONDS
    return ended


def networks(place: Path) -> dict[str, bytes]:
    """Native files of each kind."""
    found = {}
    made = {role: getattr(tiny, role)() for role in ("generator", "discriminator", "encoder")}
    made["attributes"] = AttributeNetwork(
        resolution=16, kinds=("binary", "binary"), names=("age", "smile"), width=8, embedding=8
    )
    for role, network in made.items():
        file = place / f"{role}.safetensors"
        save_network(network, file, provenance={"run": "a", "nimg": 3, "choices": {}})
        found[role] = file.read_bytes()
    return found


def directions(place: Path) -> dict[str, bytes]:
    vector = torch.nn.functional.normalize(torch.ones(1, 8))
    save_directions(place / "d", [Direction("age", vector, (0, 1), {"generator": "x"}),
                                  Direction("pose", vector.clone(), None, {})])  # fmt: skip
    return {"directions": (place / "d").read_bytes()}


def records(place: Path) -> dict[str, bytes]:
    file = place / "records.jsonl"
    for seed in range(3):
        append(file, Record(run="r", task="reconstruction", choices={"a": {"b": 1}}, n=3, nimg=4,
                            metrics={"mse": 0.5, "swd": 1.0}, data={"name": "x"}, seed=seed,
                            series={"x": [0.1, 2]}, intervals={"mse": [0, 1]}))  # fmt: skip
    return {"records": file.read_bytes()}


def codes(place: Path) -> dict[str, bytes]:
    given = Codes(torch.ones(2, 4, 8), ["anna", "ben"], "g", [torch.ones(2, 1, 4, 4)])
    return {"codes": given.write(place).read_bytes()}


def pictures(*forms: str) -> dict[str, bytes]:
    found = {}
    for form in ("PNG", "JPEG", "WEBP", *forms):
        buffer = io.BytesIO()
        Image.effect_noise((24, 16), 50).convert("RGB").save(buffer, form)
        found[form] = buffer.getvalue()
    return found


def database(place: Path) -> dict[str, bytes]:
    files = {f"{number:04d}": content for number, content in enumerate(pictures().values())}
    write_lmdb(place / "database", {**files, "large": bytes(20_000)})
    return {"database": (place / "database" / "data.mdb").read_bytes()}


class _Like:
    """What `open_directions` asks of a generator."""

    num_layers, w_dim = 4, 8


def doors(place: Path, count: int) -> dict[str, tuple[Iterator[Case], Door]]:
    """Damaged files and what opens them, by name."""

    def read_database(path: Path) -> None:
        source = open_source(path, key="data.path")
        for name in source.names:
            source.read(name)
            source.stamp(name)

    generator: Any = type("StyleGANGenerator", (_Like,), {})()
    weights = {
        "F": save({"features.0.weight": torch.ones(3)}),
        "torch": saved({"a": torch.ones(3)}),
    }
    arrays = {"direction": saved(torch.ones(1, 8)), "named": saved({"age": torch.ones(1, 8)})}
    return {
        "native weights": (
            damaged(networks(place), 2 * count, native=True),
            (lambda path: load_network(path, key="generator.path"), CheckpointError),
        ),
        "native headers": (
            damaged(networks(place), count, native=True),
            (lambda path: read_header(path, key="generator.path"), CheckpointError),
        ),
        "native directions": (
            damaged(directions(place), count, native=True),
            (lambda path: open_directions(path, generator=generator), CheckpointError),
        ),
        "foreign directions": (
            damaged(arrays, count // 5, native=False),
            (lambda path: open_directions(path, generator=generator), CheckpointError),
        ),
        "perceptual weights": (
            damaged(weights, count // 5, native=False),
            (lambda path: read_state_dict(path, key="perceptual.network.path"), CheckpointError),
        ),
        "record files": (
            damaged(records(place), count, native=False),
            (lambda path: read_records(path), DataError),
        ),
        "images": (
            damaged(pictures(), count, native=False),
            (lambda path: decode(path.read_bytes(), name="x"), DataError),
        ),
        "masks": (
            damaged(pictures("BMP", "GIF", "TIFF"), count, native=False),
            (read_mask, DataError),
        ),
        "databases": (
            damaged(database(place), count // 5, native=False),
            (read_database, DataError),
        ),
        "codes": (
            damaged(codes(place), count // 2, native=True),
            (lambda path: read_codes(path, generator="g"), CheckpointError),
        ),
    }


NAMES = ("native weights", "native headers", "native directions", "foreign directions",
         "perceptual weights", "record files", "images", "masks", "databases", "codes")  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [FEW, pytest.param(ALL, marks=pytest.mark.slow)])
def test_damaged_files(name, count, tmp_path, capsys):
    cases, door = doors(tmp_path, count)[name]
    place = tmp_path / ("file.mdb" if name == "databases" else "file")
    ended = enter(cases, door, place, capsys, what=f"damaged {name}")
    assert ended["refused"] > ended.total() // 10


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [FEW, pytest.param(ALL, marks=pytest.mark.slow)])
def test_damaged_files_of_a_run_folder_are_taken_for_missing(count, tmp_path):
    status = b'{"state": "running", "nimg": 3, "process": 4, "host": "x"}'
    rows = b'{"nimg": 3, "loss": 0.5}\n{"nimg": 4, "loss": NaN}\n'
    place = tmp_path / "part.safetensors"
    write_part(place, {"codes": torch.ones(2, 4, 8)}, names=["a", "b"], identity={"a": 1},
               seconds=1.0, device="x")  # fmt: skip
    part = place.read_bytes()
    odd = [("odd", text.encode()) for text in ODD]
    odd += [("odd", status.replace(b"3", value)) for value in (b"1e999", b"9" * 400, b"NaN")]
    odd += [("odd", status.replace(b"4", b"9" * 30).replace(b"x", socket.gethostname().encode()))]
    for _, content in [*odd, *damaged({"status": status}, count, native=False)]:
        (tmp_path / "status.json").write_bytes(content)
        assert set(read_status(tmp_path)) == {"state", "nimg"}
    for _, content in [*odd, *damaged({"rows": rows}, count, native=False)]:
        (tmp_path / "rows").write_bytes(content)
        assert all(type(row["nimg"]) is int for row in read_rows(tmp_path / "rows"))
    for _, content in [*odd, *damaged({"part": part}, count, native=True)]:
        place.write_bytes(content)
        with contextlib.suppress(ConfigError):
            has_part(place, identity={"a": 1}, needs={"codes"})
        place.with_suffix(".json").write_bytes(content)
        assert isinstance(read_device(place), str | None)


@pytest.mark.parametrize("text", ODD)
def test_a_line_that_is_no_record(text, tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text(text + "\n")
    with pytest.raises(DataError, match=r"records\.jsonl, line 1"):
        read_records(file)


def test_an_architecture_of_a_hundred_million_layers_ends_soon(tmp_path):
    content = networks(tmp_path)["generator"]
    header = header_of(content)
    architecture = json.loads(header["__metadata__"]["architecture"])
    refused: set[str] = set()
    depths = [key for key, value in architecture.items() if type(value) is int]
    for key in depths:
        for value in (10**8, 2**40):
            begun = time.process_time()
            metadata = header["__metadata__"] | {
                "architecture": json.dumps(architecture | {key: value})
            }
            (tmp_path / "x").write_bytes(with_header(content, header | {"__metadata__": metadata}))
            try:
                load_network(tmp_path / "x", key="generator.path")
            except CheckpointError:
                refused.add(key)
            assert time.process_time() - begun < SECONDS, (key, value)
    assert {"mapping_depth", "resolution", "w_dim"} <= refused


def test_a_mapping_that_no_one_has_gets_no_mean_code(tmp_path):
    from idinvert.checkpoints.mean_code import mean_code

    wide = SimpleNamespace(z_dim=500_000, w_dim=4, num_layers=4, mapping=torch.nn.Linear(1, 1))
    with pytest.raises(CheckpointError, match="far larger"):
        mean_code(wide)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 42)


@pytest.mark.parametrize("make", [fifo, zero, sparse])
def test_what_is_no_file_is_refused_at_once(make, tmp_path):
    begun = time.process_time()
    for suffix in ("pt", "safetensors", "npy", "png"):
        make(tmp_path / f"x.{suffix}")
    weights = tmp_path / "x.safetensors"
    calls: list[Callable[[], Any]] = [
        lambda: open_checkpoint(tmp_path / "x.pt", key="generator.path"),
        lambda: find_weights(str(tmp_path / "x.pt"), role="generator", key="generator.path"),
        lambda: load_network(weights, key="generator.path"),
        lambda: open_directions(tmp_path / "x.npy", generator=_Like()),
        lambda: read_state_dict(tmp_path / "x.pt", key="perceptual.network.path"),
    ]
    for call in calls:
        with pytest.raises(CheckpointError):
            call()
    with pytest.raises(DataError):
        open_source(tmp_path, key="data.path").read("x.png")
    assert time.process_time() - begun < SECONDS


def test_images_that_unpack_to_far_more(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(300 << 20), compresslevel=1)
    source = open_source(tmp_path / "x.zip", key="data.path")
    with pytest.raises(DataError, match="far more than an image"):
        source.read("a.png")
    buffer = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(buffer, "PNG")
    with pytest.raises(DataError, match="169,000,000 pixels"):
        decode(buffer.getvalue(), name="large.png")


@pytest.mark.parametrize("odd", [None, {}, [], "x", {"a": 1}])
def test_an_averaged_generator_that_is_none_is_not_replaced_in_silence(odd, tmp_path):
    file = tiny.rosinality(tmp_path / "x.pt")
    content = torch.load(file, weights_only=True)
    content["g"], content["g_ema"] = content["g_ema"], odd
    torch.save(content, file)
    with pytest.raises(CheckpointError, match="g_ema"):
        open_checkpoint(file)
    assert open_checkpoint(file, network="g").generator is not None
    del content["g_ema"]
    torch.save(content, file)
    with pytest.warns(Note, match=r"no averaged generator \(g_ema\); the live one \(g\) is read"):
        assert open_checkpoint(file).generator is not None


def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "generator.safetensors"
    file.write_bytes(networks(tmp_path)["generator"])

    def cut():  # asked when the header has been read
        os.truncate(file, 2_000)
        return 1 << 40

    monkeypatch.setattr(tensor_file, "memory_bytes", cut)
    with pytest.raises(CheckpointError, match="truncated"):
        load_network(file, key="generator.path")
