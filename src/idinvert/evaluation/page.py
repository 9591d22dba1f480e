"""The page of a task on one's own pictures: ``index.html``, which needs no other file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from idinvert.durable import write

PER_PAGE = 200

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #202020; background: #fff; }
h1 { font-size: 1.3rem; } .facts { color: #606060; }
.image { margin: 1.2rem 0; } .image h2 { font-size: 1rem; margin: 0 0 .3rem; font-weight: 600; }
.image h2 span { font-weight: 400; color: #606060; margin-left: .6em; }
figure { display: inline-block; margin: 0 .5rem .5rem 0; text-align: center; }
figure img, figure video { width: 192px; height: 192px; display: block; }
figure img { image-rendering: pixelated; }
figcaption { color: #606060; font-size: .85rem; }
nav a { margin-right: .6em; }
"""


@dataclass(frozen=True)
class Entry:
    """One image's line.

    Attributes:
        name: as the user knows it; escaped here.
        facts: words beside the name.
        pictures: caption and file (PNG, GIF, WebP or MP4), in order.
    """

    name: str
    facts: str
    pictures: Sequence[tuple[str, Path]]


def write_contact_sheet(
    folder: Path, entries: Sequence[Entry], *, title: str, facts: str
) -> list[Path]:
    """Write `index.html`, and `index-2.html` … where there are many images; returns the files."""
    pages = [entries[k : k + PER_PAGE] for k in range(0, len(entries), PER_PAGE)] or [[]]
    names = ["index.html", *(f"index-{k}.html" for k in range(2, len(pages) + 1))]
    links = " ".join(f'<a href="{name}">{k}</a>' for k, name in enumerate(names, start=1))
    for old in folder.glob("index-*.html"):  # of more images than there are now
        old.unlink()
    paths = []
    for page, name in zip(pages, names, strict=True):
        body = "\n".join(map(_entry, page))
        nav = f"<nav>pages {links}</nav>" if len(pages) > 1 else ""
        text = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
            f'<h1>{escape(title)}</h1><p class="facts">{escape(facts)}</p>{nav}\n{body}\n{nav}'
            "</body></html>\n"
        )
        paths.append(write(folder / name, text))
    return paths


def _entry(entry: Entry) -> str:
    figures = ""
    for caption, file in entry.pictures:
        data, kind = base64.b64encode(file.read_bytes()).decode(), file.suffix[1:]
        words = escape(caption)
        shown = f'<img alt="{words}" src="data:image/{kind};base64,{data}">'
        if kind == "mp4":
            source = f"data:video/mp4;base64,{data}"
            shown = f'<video src="{source}" autoplay loop muted playsinline></video>'
        figures += f"<figure>{shown}<figcaption>{words}</figcaption></figure>"
    name, facts = escape(entry.name), escape(entry.facts)
    return f'<div class="image"><h2>{name}<span>{facts}</span></h2>{figures}</div>'
