"""Image file formats by suffix: supported ones, advice on others, and file names of copies."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import PurePosixPath

from PIL import features

_PHOTOS = "pip install 'idinvert[photos]'"
_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""Pillow's formats that contain only images; other formats of Pillow can run programs."""
_MISSING = {"AVIF": "pip install --upgrade pillow", "HEIF": _PHOTOS}
"""Formats that some installations cannot read, and the command that enables them."""
_ELSEWHERE = {
    "camera raw": "export them as JPEG or TIFF",
    "video": "export single frames",
    "drawing": "export them as PNG",
    "nested archive": "unpack it",
}
_ELSEWHERE_SUFFIXES = {
    "camera raw": ".arw .cr2 .cr3 .dng .nef .orf .raf .rw2",
    "video": ".avi .m4v .mkv .mov .mp4 .webm",
    "drawing": ".ai .eps .jp2 .jxl .pdf .psd .svg .tga .xcf",
    "nested archive": ".7z .gz .rar .tar .tgz .zip",
}
_KIND = {s: form for form, suffixes in _SUFFIXES.items() for s in suffixes}
_KIND |= {s: kind for kind, text in _ELSEWHERE_SUFFIXES.items() for s in text.split()}

HAVE_HEIF = find_spec("pillow_heif") is not None
FORMATS = tuple(
    form
    for form in _SUFFIXES
    if {"AVIF": features.check("avif"), "HEIF": HAVE_HEIF}.get(form, True)
)
"""Formats that can be read here, by Pillow's names."""
SUFFIXES = tuple(suffix for form in FORMATS for suffix in _SUFFIXES[form])
WORDS = ", ".join(name.replace("HEIF", "HEIC").replace("WEBP", "WebP") for name in FORMATS)
"""The formats that can be read here, for messages."""

ILLEGAL = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
"""Characters that are invalid in file names on some common system."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices on Windows."""
LONGEST = 80
"""Maximum bytes of a stem; a file name has at most 255 and may contain two stems and the edit."""


def safe(text: str, *, longest: int = LONGEST) -> str:
    """Returns the nearest valid file name on all common systems, of at most `longest` bytes."""
    text = text.encode("utf-8", "replace").decode("utf-8")  # names that are not UTF-8
    text = ILLEGAL.sub("_", unicodedata.normalize("NFC", text))
    text = text.encode()[:longest].decode("utf-8", "ignore").strip(" .")
    return f"{text}_" if RESERVED.fullmatch(text) else text or "image"


def stems_of(names: Sequence[str]) -> list[str]:
    """Returns a file name for each image: its own without folders and suffix if that is unique.

    The names are valid on all common systems, and differ in more than letter case.

    Args:
        names: Names of the images, with folders and suffixes.
    """

    def forms(name: str) -> list[str]:
        path = PurePosixPath(name)
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
        stem = path.name.removesuffix(suffix)
        parts = [part for part in (*path.parts[:-1], stem) if part not in ("/", ".", "..")]
        whole = "_".join(parts)
        return [safe(stem), safe(whole), safe(f"{whole}{suffix.replace('.', '_')}")]

    found = [forms(name) for name in names]
    counts = [Counter(form.casefold() for form in column) for column in zip(*found, strict=True)]
    stems: list[str] = []
    taken: set[str] = set()
    for of_name in found:
        keys = [form.casefold() for form in of_name]
        free = [k for k in range(3) if counts[k][keys[k]] == 1 and keys[k] not in taken]
        stem, number = of_name[free[0] if free else 2], 2
        while stem.casefold() in taken:
            stem, number = f"{of_name[2]}_{number}", number + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def left_out(names: Iterable[str]) -> list[str]:
    """Counts unsupported image and archive files by kind, each with advice.

    Args:
        names: Names of files that are not read; other kinds, such as text files, are ignored.

    Returns:
        For instance `3 HEIC files: pip install 'idinvert[photos]'`.
    """
    kinds = Counter(_KIND.get(PurePosixPath(name).suffix.lower()) for name in names)
    lines = []
    for kind in (*_MISSING, *_ELSEWHERE):
        if count := kinds[kind]:
            word = {"HEIF": "HEIC file", "AVIF": "AVIF file"}.get(kind, kind)
            word += " file" if kind in ("camera raw", "drawing") else ""
            plural = "s" if count > 1 else ""
            lines.append(f"{count:,} {word}{plural}: {advice(kind)}")
    return lines


def advice(kind: str) -> str:
    """Returns advice on a kind of file that is not supported here."""
    return _MISSING.get(kind) or _ELSEWHERE[kind]


def true_form(data: bytes) -> str | None:
    """Returns `HEIF` or `AVIF` if the bytes are of that format, whatever the file's name."""
    if data[4:8] != b"ftyp":
        return None
    brands = {data[i : i + 4] for i in (8, *range(16, min(64, int.from_bytes(data[:4])), 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands & {b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"} else None
