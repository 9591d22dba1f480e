"""Archives written by hand, read by the standard library."""

import io
import zipfile
import zlib
from pathlib import Path

from idinvert.data.zip_file import Entry, room_of, write_directory, write_entry


def test_the_standard_library_reads_it() -> None:
    files = {f"{i}/name.png": bytes([i]) * i for i in range(5)}
    entries = [Entry(name, len(data), zlib.crc32(data)) for name, data in files.items()]
    file = io.BytesIO()
    for entry, data in zip(entries, files.values(), strict=True):
        start = file.tell()
        write_entry(file, entry, data)
        assert file.tell() - start == room_of(entry)
    write_directory(file, entries)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.namelist() == list(files)
        assert {name: archive.read(name) for name in files} == files
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.external_attr >> 16 == 0o100644
    # Byte for byte what the standard library would write.
    theirs = io.BytesIO()
    with zipfile.ZipFile(theirs, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    assert theirs.getvalue() == file.getvalue()


def test_more_files_than_the_old_format_counts() -> None:
    entries = [Entry(f"{i:05d}", 0, 0) for i in range(70_000)]
    file = io.BytesIO()
    for entry in entries:
        write_entry(file, entry, b"")
    write_directory(file, entries)
    with zipfile.ZipFile(file) as archive:
        assert len(archive.namelist()) == 70_000 and archive.read("69999") == b""


def test_files_behind_four_gigabytes(tmp_path: Path) -> None:
    large = Entry("large", (1 << 32) - 2, 0)
    last = Entry("last", 4, zlib.crc32(b"last"))
    with (tmp_path / "far.zip").open("wb") as file:  # sparse: takes no room
        write_entry(file, large, b"")
        file.seek(room_of(large))
        write_entry(file, last, b"last")
        write_directory(file, [large, last])
    with zipfile.ZipFile(tmp_path / "far.zip") as archive:
        assert archive.read("last") == b"last"
        assert archive.getinfo("last").header_offset == room_of(large) > 1 << 32
        assert archive.getinfo("large").file_size == large.size
