"""Edits of own pictures: a file for each, films, a sheet, a web page and the edited codes."""

import contextlib
import csv
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idinvert.data.formats import stems_of
from idinvert.durable import written_whole
from idinvert.errors import ConfigError, DataError, nearest
from idinvert.evaluation import pictures
from idinvert.evaluation.codes_file import Codes
from idinvert.evaluation.context import ALWAYS, EvaluationContext
from idinvert.evaluation.inversions import Inversions, Noise
from idinvert.evaluation.outputs import write_csv
from idinvert.evaluation.own_images import KnownCodes
from idinvert.metrics.protocol import MetricValues
from idinvert.results.record import Record
from idinvert.tracking.pictures import save_picture

FRAMES, PAUSE = 24, 80
"""Frames of a film in one direction, and milliseconds per frame; it runs forth and back."""
SIDE = 256
"""Side in pixels to which frames of small generators are enlarged, by an integer factor."""
TABLE = "edits.csv"
NO_METRICS = "not computed: own pictures have no labels and no held-out pictures"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One picture to write.

    Attributes:
        stem: Stem of its file.
        caption: Text under it on the page.
        code: float [L, w_dim].
        noise: Noise maps of its image, each [1, 1, h, w].
        picture: uint8 [3, R, R]; None for G's image of the code.
        on_sheet: Whether the sheet shows it.
    """

    stem: str
    caption: str
    code: Tensor
    noise: Noise = None
    picture: Tensor | None = None
    on_sheet: bool = True


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the sheet and the page.

    Attributes:
        names: Name of the picture, or names of the two pictures of a pair.
        joint: Text between the two.
        before: File stem, caption and uint8 [3, R, R] of the pictures before the edits.
        edits: The edits.
        after: As `before`, after the edits.
        films: File stem to the codes of a film's frames, float [F, L, w_dim].
    """

    names: Sequence[str]
    edits: Sequence[Edit]
    joint: str = ""
    before: Sequence[tuple[str, str, Tensor]] = ()
    after: Sequence[tuple[str, str, Tensor]] = ()
    films: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name on the page."""
        return f" {self.joint} ".join(self.names)

    @property
    def label(self) -> str:
        """Its label on the sheet: without folders, one line per picture."""
        return f"\n{self.joint} ".join(pictures.label_of(Path(name).name) for name in self.names)


def check_film(video: str | None) -> None:
    """Refuses a film that cannot be written, before any work.

    Raises:
        ConfigError: An unknown format, or a package that it needs is not installed.
    """
    if video not in (None, "gif", "webp", "mp4"):
        raise ConfigError(f"task.video={video}: expected gif, webp, mp4 or null.")
    if video == "mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ConfigError(
            "task.video=mp4 needs the package imageio-ffmpeg: pip install 'idinvert[video]'; "
            "gif and webp need nothing."
        )


def pictures_of(
    context: EvaluationContext, found: Inversions, stem: str, place: int
) -> list[tuple[str, str, Tensor]]:
    """Returns a picture's input, if there is one, and its inversion; as `Row.before`."""
    inverted = (f"{stem}_inverted", "inverted", found.images(torch.tensor([place]))[0])
    if isinstance(found, KnownCodes):
        return [inverted]
    dataset: Any = context.dataset
    return [(f"{stem}_input", "input", dataset[place]["image"]), inverted]


def pairs_of(
    stems: Sequence[str], wanted: Sequence[Sequence[str]] | None, *, cycle: bool
) -> list[tuple[int, int]]:
    """Returns the indices of the pictures of each pair.

    Args:
        stems: Stems of the pictures.
        wanted: Pairs of them; None for each with the next.
        cycle: Whether None also pairs the last with the first.

    Raises:
        ConfigError: No such picture, or an entry that is not a pair.
        DataError: Fewer than two pictures.
    """
    if wanted is None:
        if len(stems) < 2:
            raise DataError(f"a pair takes two pictures, and images= has {len(stems)}: add one.")
        following = [(i, i + 1) for i in range(len(stems) - 1)]
        return [*following, (len(stems) - 1, 0)] if cycle else following
    places = {stem.casefold(): i for i, stem in enumerate(stems)}
    found = []
    for pair in wanted:
        if isinstance(pair, str) or len(pair) != 2:
            raise ConfigError(f"task.pairs has {pair}: expected pairs, [[first,second],[…,…]].")
        one, other = stems_of([str(name) for name in pair]) if pair[0] != pair[1] else pair
        for name in (one, other):
            if name.casefold() not in places:
                hint = nearest(name, list(stems))
                raise ConfigError(f"task.pairs: images= has no picture {name}. {hint}")
        found.append((places[one.casefold()], places[other.casefold()]))
    return found


def write_edits(
    context: EvaluationContext,
    found: Inversions,
    rows: Iterable[Row],
    *,
    task: str,
    out: str | None,
    video: str | None = None,
    shown: int = 4,
    headers: Sequence[tuple[str, int]] = (),
    options: Mapping[str, Any],
    measured: MetricValues,
    measured_edits: MetricValues | None = None,
    begin: float,
    **of_record: Any,
) -> list[Record]:
    """Writes the edits of own pictures, and prints where they are.

    Writes ``<stem>.png`` for each edit, and ``<picture>_{input,inverted}.png``; films;
    ``pictures.png`` and ``.pdf`` (the first rows); ``index.html`` (self-contained); ``edits.csv``
    (a line per file); ``codes.safetensors`` with the edited codes, named by their stems. Files
    that an earlier call listed in ``edits.csv`` are removed first.

    Args:
        context: The context of the own pictures.
        found: Their inversions.
        rows: The rows to write.
        task: The task's name.
        out: Folder; None for a subfolder of the run's.
        video: Format of the films.
        shown: Rows of the sheet.
        headers: Headers of the sheet.
        options: The task's settings, JSON-able.
        measured: Metrics of the inversions.
        measured_edits: Metrics of the edits, if they can be measured.
        begin: When the task began, by `time.monotonic`.
        of_record: Further arguments of `EvaluationContext.record`.
    """
    folder = context.folder(task, **options, video=video)
    folder = folder if out is None else Path(out).expanduser()
    with context.locked(folder):
        _remove_old(folder)
        entries, edits = list[pictures.Entry](), list[Edit]()
        sheet, labels = list[list[Tensor]](), list[str]()
        lines: list[tuple[str, str, str]] = []
        taken, written = set[str](), set[Path]()
        for row in rows:
            of_row, files = list[Tensor](), list[tuple[str, Path]]()
            of_edits = [_named_apart(edit, taken) for edit in row.edits]
            made = [(e.stem, e.caption, _picture(found, e), e.on_sheet) for e in of_edits]
            before, after = ([(*one, True) for one in some] for some in (row.before, row.after))
            for stem, caption, picture, on_sheet in (*before, *made, *after):
                file = folder / f"{stem}.png"
                if file not in written:
                    save_picture(file, pictures.to_image(picture))
                written.add(file)
                files.append((caption, file))
                of_row += [picture] if on_sheet else []
            for stem, frames in row.films.items() if video else ():
                file = folder / f"{stem}.{video}"
                noise = row.edits[0].noise
                of_frames = noise and [one.expand(len(frames), -1, -1, -1) for one in noise]
                write_film(file, found.synthesise(frames, of_frames))
                files.append(("film", file))
            entries.append(pictures.Entry(row.name, "", files))
            lines += [(file.name, row.name, caption) for caption, file in files]
            edits += of_edits
            if len(sheet) < shown:
                sheet.append(of_row)
                labels.append(row.label)
        columns = dict(zip(("file", "picture", "what"), zip(*lines, strict=True), strict=True))
        write_csv(folder / TABLE, {key: list(column) for key, column in columns.items()})
        maps = [torch.cat(of) for of in zip(*(e.noise or () for e in edits), strict=True)] or None
        codes = torch.stack([edit.code for edit in edits]).contiguous()
        generator = context.checkpoints.get("generator", "")
        stems = [edit.stem for edit in edits]
        state = found.state(torch.arange(len(found)))  # only in task=invert: edits refuse it
        Codes(codes, stems, generator, maps, state=state).write(folder)
        if sheet:
            pictures.write_sheet(pictures.Sheet(rows=sheet, headers=headers, labels=labels), folder)
        facts = f"inversion {context.method}, run {context.provenance['run']}"
        title = f"{task} of {context.domain.name}"
        pictures.write_contact_sheet(folder, entries, title=title, facts=facts)
    told = {**options, "images": "own"}
    if measured_edits is None:
        told["metrics"] = NO_METRICS
    measured = measured | (measured_edits or MetricValues())
    record = context.record(task, measured, options=told, **found.work(begin), **of_record)
    records = context.finish([record], folder, pictures=False)
    if measured_edits is None:
        if measured.metrics:
            print("  (of the inversions)")
        print("  no metrics of the edits: own pictures have no labels, and none is held out")
    print(f"{len(edits)} edited picture{'s' * (len(edits) > 1)}: {folder / edits[0].stem}.png …")
    print(f"look at {folder / 'index.html'}")
    return records


def of_inversions(context: EvaluationContext, found: Inversions) -> MetricValues:
    """Returns the metrics of the inversions; empty if only codes are known."""
    measured = MetricValues()
    for metric in ALWAYS if not isinstance(found, KnownCodes) else ():
        measured.add_mean(metric, found.gather(f"value.{metric}"), seed=context.seed)
    return measured


def _named_apart(edit: Edit, taken: set[str]) -> Edit:
    """Returns the edit with a stem that no earlier edit has."""
    stem, number = edit.stem, 2
    while stem.casefold() in taken:
        stem, number = f"{edit.stem}_{number}", number + 1
    taken.add(stem.casefold())
    return replace(edit, stem=stem)


def _picture(found: Inversions, edit: Edit) -> Tensor:
    if edit.picture is not None:
        return edit.picture
    return found.synthesise(edit.code[None], edit.noise)[0]


def _remove_old(folder: Path) -> None:
    """Removes the files that an earlier call listed, and nothing else."""
    if not (folder / TABLE).is_file():
        return
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        names = [row.get("file") or "" for row in csv.DictReader(file)]
    for name in names:
        ours = Path(name).suffix[1:] in ("png", "gif", "webp", "mp4")
        if ours and Path(name).name == name:
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def write_film(path: Path, frames: Tensor) -> None:
    """Writes frames as a film that runs forth and back in an endless loop.

    Args:
        path: Ends in .gif, .webp or .mp4.
        frames: uint8 [F, 3, R, R].
    """
    side = frames.shape[-1] * max(1, SIDE // frames.shape[-1])
    images = [pictures.to_image(frame, side=side) for frame in (*frames, *frames.flip(0)[1:-1])]
    with written_whole(path) as whole:
        if path.suffix == ".mp4":
            _write_mp4(whole, images)
            return
        kind = path.suffix[1:]
        lossless = {"quality": 90} if kind == "webp" else {}
        whole_film: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0}
        images[0].save(whole, format=kind, duration=PAUSE, **whole_film, **lossless)


def _write_mp4(path: Path, images: Sequence[Image.Image]) -> None:
    import imageio_ffmpeg

    size, named = images[0].size, path.with_name(f"{path.name}.mp4")
    writer = imageio_ffmpeg.write_frames(str(named), size, fps=1000 / PAUSE, macro_block_size=2)
    writer.send(None)
    for image in images:
        writer.send(np.asarray(image).tobytes())
    writer.close()
    named.replace(path)
