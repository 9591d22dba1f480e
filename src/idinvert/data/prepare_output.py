"""Where prepared images go: into one zip archive, or into a folder."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path
from typing import BinaryIO

from idinvert.data.zip_file import Entry, room_of, write_directory, write_entry


class ZipOutput:
    """An archive that grows at its end; its directory is written last.

    Args:
        path: The unfinished archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: list[Entry] = []
        self._file: BinaryIO | None = None

    def known(self, entry: Entry) -> None:
        """Tells of a file that was added, and put on the disk, by a process before this one."""
        self._entries.append(entry)

    def start(self) -> bool:
        """Goes on behind the files that are known; false if they are not all there."""
        end = sum(room_of(entry) for entry in self._entries)
        self.path.touch()
        if self.path.stat().st_size < end:
            return False
        os.truncate(self.path, end)
        self._file = self.path.open("ab")
        return True

    def add(self, name: str, data: bytes) -> None:
        """Appends one file."""
        assert self._file is not None
        entry = Entry(name, len(data), zlib.crc32(data))
        write_entry(self._file, entry, data)
        self._entries.append(entry)

    def sync(self) -> None:
        """Puts what was added on the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, out: Path) -> None:
        """Writes the directory, and moves the whole to its place."""
        assert self._file is not None
        write_directory(self._file, self._entries)
        self.sync()
        self.close()
        os.replace(self.path, out)

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()


class FolderOutput:
    """A folder of files.

    Args:
        path: The unfinished folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = True
        self._fresh: list[Path] = []

    def known(self, entry: Entry) -> None:
        """Tells of a file that was added, and put on the disk, by a process before this one."""
        file = self.path / entry.name
        self._whole = self._whole and file.is_file() and file.stat().st_size == entry.size

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
        os.replace(self.path, out)

    def close(self) -> None:
        """Nothing is open between calls."""


def remove(folder: Path) -> None:
    """Removes a work folder; what cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
