"""Weights by name: downloads that go on where they stopped, checksums, mirrors, local copies."""

import dataclasses
import hashlib
import io
import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from idinvert.checkpoints import fetch as module
from idinvert.checkpoints.fetch import (
    MIRROR,
    DownloadError,
    _StaySecure,
    addresses,
    all_entries,
    download,
    entry_of,
    fetch,
)
from idinvert.checkpoints.registry import CHECKPOINTS, ENTRIES
from idinvert.data.content import weights_cache_dir
from idinvert.errors import CheckpointError, MissingWeightsError
from tests.checkpoints.range_server import Behaviour, serving

pytestmark = pytest.mark.usefixtures("empty_cache")

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "squeezenet"


@pytest.fixture
def server():
    with serving(Behaviour(CONTENT)) as behaviour:
        yield behaviour


@pytest.fixture
def entry(monkeypatch):
    """Gives an entry of the registry another address or sha256."""

    def change(**changes):
        changed = dataclasses.replace(ENTRIES[NAME], **changes)
        monkeypatch.setitem(ENTRIES, NAME, changed)
        return changed

    return change


def test_a_download_arrives_whole_and_leaves_nothing_beside_it(server, entry):
    entry(url=server.url, sha256=DIGEST)
    path = fetch(NAME)
    assert path == weights_cache_dir() / ENTRIES[NAME].filename
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert fetch(NAME) == path
    assert server.asked == [None], "what is there is not fetched again"


def test_a_broken_connection_goes_on_where_it_ended(server, entry):
    entry(url=server.url, sha256=DIGEST)
    server.drops = [4_000, 3_000]
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4000-", "bytes=7000-"]


def test_a_later_process_goes_on_where_the_first_ended(server, tmp_path):
    partial = tmp_path / "x.partial"
    server.drops = [4_000, 0]
    with pytest.raises(DownloadError, match="4,000 bytes are kept"):
        download(server.url, partial, attempts=1)
    assert partial.read_bytes() == CONTENT[:4_000]
    download(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=4000-"


def test_another_version_of_the_file_is_fetched_from_its_start(server, tmp_path):
    partial = tmp_path / "x.partial"
    server.drops = [4_000, 0]
    with pytest.raises(DownloadError):
        download(server.url, partial, attempts=1)
    server.content, server.etag = b"new" * 3_000, '"v2"'
    download(server.url, partial)
    assert partial.read_bytes() == server.content


@pytest.mark.parametrize("note", ["", "[]", json.dumps({"url": "http://elsewhere/", "v": 1})])
def test_bytes_of_unknown_origin_are_not_used(server, tmp_path, note):
    partial = tmp_path / "x.partial"
    partial.write_bytes(b"?" * 100)
    (tmp_path / "x.partial.json").write_text(note)
    download(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}])
def test_a_server_without_parts_or_versions_still_serves(server, tmp_path, change):
    for name, value in change.items():
        setattr(server, name, value)
    server.drops = [4_000]
    download(server.url, tmp_path / "x.partial")
    assert (tmp_path / "x.partial").read_bytes() == CONTENT


def test_all_bytes_were_there_already(server, tmp_path):
    partial = tmp_path / "x.partial"
    partial.write_bytes(CONTENT)
    note = {"url": server.url, "validator": server.etag}
    (tmp_path / "x.partial.json").write_text(json.dumps(note))
    download(server.url, partial)
    assert partial.read_bytes() == CONTENT and server.asked == [f"bytes={len(CONTENT)}-"]


def test_more_bytes_than_the_file_has_are_fetched_anew(server, tmp_path):
    partial = tmp_path / "x.partial"
    partial.write_bytes(CONTENT + b"more")
    note = {"url": server.url, "validator": server.etag}
    (tmp_path / "x.partial.json").write_text(json.dumps(note))
    download(server.url, partial)
    assert partial.read_bytes() == CONTENT


def test_a_part_that_begins_elsewhere_is_refused(server, tmp_path):
    server.drops, server.shift = [4_000], 10
    with pytest.raises(DownloadError, match="another part"):
        download(server.url, tmp_path / "x.partial")


def test_passing_trouble_is_waited_out_and_lasting_trouble_is_not(server, tmp_path):
    server.codes = [503, 500]
    download(server.url, tmp_path / "a.partial")
    assert len(server.asked) == 3
    server.asked.clear()
    server.codes = [404]
    with pytest.raises(DownloadError, match=r"answered 404"):
        download(server.url, tmp_path / "b.partial")
    assert len(server.asked) == 1
    server.codes = [503] * 3
    with pytest.raises(DownloadError, match=r"answered 503"):
        download(server.url, tmp_path / "c.partial")


def test_a_web_page_is_no_file(server, entry):
    entry(url=server.url)
    server.page = True
    with pytest.raises(MissingWeightsError, match="web page") as caught:
        fetch(NAME)
    assert "--from FILE" in str(caught.value) and server.url in str(caught.value)


def test_another_sha256_is_refused_and_not_kept(server, entry):
    entry(url=server.url, sha256="0" * 64)
    with pytest.raises(CheckpointError, match=DIGEST[:16]):
        fetch(NAME)
    assert not list(weights_cache_dir().iterdir())


def test_a_file_in_the_cache_with_another_sha256_is_refused(entry):
    entry(sha256="0" * 64)
    weights_cache_dir().mkdir(parents=True)
    (weights_cache_dir() / ENTRIES[NAME].filename).write_bytes(CONTENT)
    with pytest.raises(CheckpointError, match="in the cache"):
        fetch(NAME)


def test_mirrors_are_asked_first(server, entry, monkeypatch):
    changed = entry(url="http://127.0.0.1:9/publisher", sha256=DIGEST)
    mirror = server.url.rsplit("/", 1)[0]
    monkeypatch.setenv(MIRROR, f"http://127.0.0.1:9/down {mirror}/")
    assert addresses(changed) == [
        f"http://127.0.0.1:9/down/{changed.filename}",
        f"{mirror}/{changed.filename}",
        changed.url,
    ]
    assert fetch(NAME).read_bytes() == CONTENT


def test_no_server_at_all_says_what_to_do(entry):
    entry(url="http://127.0.0.1:9/weights.bin")
    with pytest.raises(MissingWeightsError) as caught:
        fetch(NAME)
    for word in ("127.0.0.1:9", "--from FILE", MIRROR, ENTRIES[NAME].filename):
        assert word in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "weights.bin"])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(DownloadError, match="expected http or https"):
        download(url, tmp_path / "x.partial")


def test_no_redirect_leads_away_from_https():
    request = urllib.request.Request("https://example.invalid/x")
    handler = _StaySecure()
    with pytest.raises(DownloadError, match="not https"):
        handler.redirect_request(request, io.BytesIO(), 302, "", {}, "http://example.invalid/x")
    followed = handler.redirect_request(
        request, io.BytesIO(), 302, "", {}, "https://other.invalid/x"
    )
    assert followed is not None and followed.full_url == "https://other.invalid/x"


def test_a_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=100)
    monkeypatch.setattr("idinvert.checkpoints.fetch.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="IDINVERT_CACHE"):
        download(server.url, tmp_path / "x.partial")


def test_two_processes_do_not_write_the_same_file(server, tmp_path):
    import fcntl

    with open(tmp_path / "x.partial", "a+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process"):
            download(server.url, tmp_path / "x.partial")


@pytest.mark.parametrize("folder", [False, True])
def test_from_a_local_file_or_folder(entry, tmp_path, folder):
    changed = entry(sha256=DIGEST)
    (tmp_path / "usb").mkdir()
    file = tmp_path / "usb" / changed.filename
    file.write_bytes(CONTENT)
    path = fetch(NAME, source=file.parent if folder else file)
    assert path.parent == weights_cache_dir() and path.read_bytes() == CONTENT
    assert file.is_file()


def test_from_a_wrong_local_file(entry, tmp_path):
    entry(sha256=DIGEST)
    (tmp_path / "x").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=DIGEST[:16]):
        fetch(NAME, source=tmp_path / "x")
    with pytest.raises(MissingWeightsError, match="is no file"):
        fetch(NAME, source=tmp_path / "absent")
    assert not list(weights_cache_dir().iterdir())


def test_without_a_known_sha256_any_content_is_taken(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT)
    assert fetch("e4e_ffhq", source=tmp_path / "x").read_bytes() == CONTENT


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(CheckpointError, match="e4e_ffhq"):
        entry_of("e4e_fhq")
    with pytest.raises(CheckpointError, match=r"checkpoints list"):
        module.fetch("qqqqqqqqqq")


@pytest.mark.parametrize("entry", CHECKPOINTS.values(), ids=lambda entry: entry.name)
def test_published_checkpoints_are_described(entry):
    assert entry.url.startswith("https://") and entry.licence and entry.purpose
    assert entry.sha256 == "" and entry.megabytes is None, "nothing is guessed"
    assert Path(entry.filename).name == entry.filename
    assert Path(entry.filename).suffix in (".pkl", ".pt", ".pth")


def test_names_and_files_are_unique():
    entries = all_entries()
    assert len(entries) == len(ENTRIES) + len(CHECKPOINTS)
    assert len({entry.filename for entry in entries.values()}) == len(entries)
    assert len({entry.url for entry in entries.values()}) == len(entries)
