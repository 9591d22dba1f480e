"""Small pictures on the disk, for the tests of sources and of preparation."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, width: int = 20, height: int = 16, form: str = "PNG") -> bytes:
    """A picture of noise, as a file."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    """The files below a new folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    """The files in an archive, last name first."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(files, reverse=True):
            archive.writestr(name, files[name])
    return path


def write_lmdb(path: Path, files: dict[str, bytes]) -> Path:
    """The files as values of a database."""
    import lmdb

    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for name, data in files.items():
            transaction.put(name.encode("latin-1"), data)
    return path
