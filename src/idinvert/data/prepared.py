"""A prepared data set: the names of its images, its report, and the archive or folder itself."""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idinvert.data.formats import stems_of
from idinvert.data.source import ImageSource, LmdbSource
from idinvert.durable import move
from idinvert.errors import DataError

FORMATS = ("idinvert-prepared-1", "idinvert-prepared-2")
"""Formats of reports: for images named by their places, and for those that keep their own names."""
MEMBER = "prepared.json"
"""Name of the report in the archive or folder itself."""

_NAME = re.compile(r"\d{5,}/img(\d{8,})\.png")
_FOLDER = 1000  # maximum number of images


def names_by_place(places: Sequence[int]) -> list[str]:
    """Returns `00012/img00012345.png` for place 12345: sorts by place, with gaps if dropped."""
    return [f"{place // _FOLDER:05d}/img{place:08d}.png" for place in places]


def names_kept(names: Sequence[str]) -> list[str]:
    """Returns `00000/anna 1.png` for `anna 1.jpg`: names that sort in the order of the images.

    A new folder begins after 1,000 images, and where the next name would not sort after the last.

    Args:
        names: Names of the images in the source, in order.
    """
    digits = max(5, len(str(len(names))))
    found: list[str] = []
    folder, inside, last = 0, 0, ""
    for stem in stems_of(names):
        name = f"{stem}.png"
        if inside == _FOLDER or name <= last:
            folder, inside = folder + 1, 0
        found.append(f"{folder:0{digits}d}/{name}")
        inside, last = inside + 1, name
    return found


def names_hash(names: Sequence[str]) -> str:
    """Returns the sha256 of names, one per line."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """The parts of a prepared data set's report that other modules need.

    Attributes:
        images: Number of places before any were dropped.
        places: Place of every name, in the order of names.
        dropped: Places that were processed and left out.
        settings: Settings that it was made with.
    """

    images: int
    places: tuple[int, ...]
    dropped: frozenset[int]
    settings: Mapping[str, Any]


def read_prepared(source: ImageSource) -> Prepared | None:
    """Returns the report of a source made by `prepare`; None for any other source.

    Raises:
        DataError: There is a report, but it does not match the images.
    """
    if isinstance(source, LmdbSource):
        return None
    try:
        text = source.read(MEMBER)
    except DataError:
        return None
    try:
        facts = json.loads(text)
        form = FORMATS.index(facts["format"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # a file of another program with that name
    found = [_NAME.fullmatch(name) for name in source.names]
    places = tuple(int(match[1]) for match in found if match)
    try:
        images, kept = int(facts["images"]), int(facts["kept"])
        dropped = frozenset(int(row["place"]) for row in facts["dropped_images"])
        settings = dict(facts["settings"])
        whole = kept == len(source.names) and images == kept + len(dropped)
        if form and whole and facts["called"] == names_hash(source.names):
            places = tuple(place for place in range(images) if place not in dropped)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(f"cannot make sense of {MEMBER} in {source.where()}: {error}") from error
    if len(places) != len(source.names) or len(places) != kept or list(places) != sorted(places):
        raise DataError(
            f"{source.where()} holds {len(source.names):,} images, expected the {kept:,} that its "
            f"{MEMBER} tells of and no other; prepare it again, or remove {MEMBER}"
        )
    return Prepared(images=images, places=places, dropped=dropped, settings=settings)


class ZipOutput:
    """An archive of stored files to which files are appended; its directory is written last.

    All files are dated 1980-01-01, so that the same images give the same bytes.

    Args:
        path: The unfinished archive.
        known: Name, size and CRC-32 of each file that an earlier process added and synced to disk.

    Raises:
        DataError: Some of the known files are missing.
    """

    def __init__(self, path: Path, known: Iterable[tuple[str, int, int]]) -> None:
        infos, end = list[zipfile.ZipInfo](), 0
        for name, size, crc in known:
            info = _info(name)
            info.file_size = info.compress_size = size
            info.CRC, info.header_offset = crc, end
            infos.append(info)
            end += len(info.FileHeader()) + size
        path.touch()
        if path.stat().st_size < end:
            raise _lost(path)
        os.truncate(path, end)
        self.path, self._file = path, path.open("r+b")
        self._file.seek(end)
        # The library appends only to an archive with a directory, so it is given the known files.
        self._zip = zipfile.ZipFile(self._file, "w")
        self._zip.filelist.extend(infos)

    def add(self, name: str, data: bytes) -> None:
        """Appends one file."""
        self._zip.writestr(_info(name), data)

    def sync(self) -> None:
        """Syncs the added files to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, out: Path) -> None:
        """Writes the directory, and moves the archive to its final path."""
        self._zip.close()
        self.sync()
        move(self.path, out)

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()
        self._file.close()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # stored, 1980-01-01
    info.create_system, info.external_attr = 3, 0o100644 << 16  # Unix, whatever writes it
    return info


class FolderOutput:
    """A folder of files; arguments and errors are those of `ZipOutput`."""

    def __init__(self, path: Path, known: Iterable[tuple[str, int, int]]) -> None:
        path.mkdir(exist_ok=True)
        self.path, self._fresh = path, list[Path]()
        for file, size in [(path / name, size) for name, size, _ in known]:
            if not file.is_file() or file.stat().st_size != size:
                raise _lost(path)

    def add(self, name: str, data: bytes) -> None:
        """Adds one file."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        self._fresh.append(file)

    def sync(self) -> None:
        """Syncs the added files to disk."""
        for file in self._fresh:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        self._fresh.clear()

    def finish(self, out: Path) -> None:
        """Moves the folder to its final path."""
        self.sync()
        if out.is_dir():
            out.rmdir()  # always empty here
        move(self.path, out)

    def close(self) -> None:
        """Does nothing, because no file stays open."""


def _lost(path: Path) -> DataError:
    return DataError(f"{path.parent} has lost images; remove it to begin again")
