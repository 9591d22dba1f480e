"""A prepared data set: how its images are called, its report, and the archive or folder itself."""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from idinvert.data.formats import stems_of
from idinvert.data.source import ImageSource, LmdbSource
from idinvert.durable import move
from idinvert.errors import DataError

FORMATS = ("idinvert-prepared-1", "idinvert-prepared-2")
"""Of reports: of images named by their places, and of those that keep their own names."""
MEMBER = "prepared.json"
"""The report, in the archive or folder itself."""

_NAME = re.compile(r"\d{5,}/img(\d{8,})\.png")
_FOLDER = 1000  # images at most


def names_by_place(places: Sequence[int]) -> list[str]:
    """`00012/img00012345.png` for place 12345: sorts like places do; gaps tell what was dropped."""
    return [f"{place // _FOLDER:05d}/img{place:08d}.png" for place in places]


def names_kept(names: Sequence[str]) -> list[str]:
    """`00000/anna 1.png` for `anna 1.jpg`: names that sort in the order of the images.

    A new folder begins after 1,000 images, and where the next name would not sort behind the last.

    Args:
        names: Of the images in the source, in order.
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
    """The sha256 of names, one a line."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """The report of a prepared data set, as far as others need it.

    Attributes:
        images: Places there were, before anything was dropped.
        places: Of every name, in the order of names.
        dropped: Places that were looked at and left out.
        settings: That it was made with.
    """

    images: int
    places: tuple[int, ...]
    dropped: frozenset[int]
    settings: Mapping[str, Any]


def read_prepared(source: ImageSource) -> Prepared | None:
    """The report of a source that `prepare` made; None for any other.

    Raises:
        DataError: There is a report, and it does not fit the images.
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
        return None  # another program's file of that name
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
    """An archive of stored files that grows at its end; its directory is written last.

    All files are of 1980-01-01, so that the same images give the same bytes.

    Args:
        path: The unfinished archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: list[zipfile.ZipInfo] = []
        self._end = 0  # bytes of the files that are known, with their headers
        self._file: BinaryIO | None = None

    def known(self, name: str, *, size: int, crc: int) -> None:
        """Tells of a file that was added, and put on the disk, by a process before this one."""
        info = _info(name)
        info.file_size = info.compress_size = size
        info.CRC, info.header_offset = crc, self._end
        self._known.append(info)
        self._end += len(info.FileHeader()) + size

    def start(self) -> bool:
        """Goes on behind the files that are known; false if they are not all there."""
        self.path.touch()
        if self.path.stat().st_size < self._end:
            return False
        os.truncate(self.path, self._end)
        self._file = self.path.open("r+b")
        self._file.seek(self._end)
        # The library appends only to an archive with a directory: it is told what is there.
        self._zip = zipfile.ZipFile(self._file, "w")
        self._zip.filelist.extend(self._known)
        return True

    def add(self, name: str, data: bytes) -> None:
        """Appends one file."""
        self._zip.writestr(_info(name), data)

    def sync(self) -> None:
        """Puts what was added on the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, out: Path) -> None:
        """Writes the directory, and moves the whole to its place."""
        self._zip.close()
        self.sync()
        move(self.path, out)

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._zip.close()
            self._file.close()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # stored, 1980-01-01
    info.create_system, info.external_attr = 3, 0o100644 << 16  # Unix, whatever writes it
    return info


class FolderOutput:
    """A folder of files.

    Args:
        path: The unfinished folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = True
        self._fresh: list[Path] = []

    def known(self, name: str, *, size: int, crc: int) -> None:
        """Tells of a file that was added, and put on the disk, by a process before this one."""
        file = self.path / name
        self._whole = self._whole and file.is_file() and file.stat().st_size == size

    def start(self) -> bool:
        """Goes on behind the files that are known; false if they are not all there."""
        self.path.mkdir(exist_ok=True)
        return self._whole

    def add(self, name: str, data: bytes) -> None:
        """Adds one file."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        self._fresh.append(file)

    def sync(self) -> None:
        """Puts what was added on the disk."""
        for file in self._fresh:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        self._fresh.clear()

    def finish(self, out: Path) -> None:
        """Moves the whole to its place."""
        self.sync()
        if out.is_dir():
            out.rmdir()  # only an empty one gets here
        move(self.path, out)

    def close(self) -> None:
        """Nothing is open between calls."""
