"""``python -m idinvert.data``: prepare or inspect a data set."""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

from idinvert.errors import command_line

_SHOWN = 10  # dropped images printed; the report has all


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m idinvert.data", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="prepare | inspect")

    prepare = commands.add_parser(
        "prepare",
        help="crop, resize and store images once; the same command continues where it was stopped",
    )
    prepare.add_argument("source", metavar="SRC", help="a folder, a .zip archive or an LMDB")
    prepare.add_argument("out", metavar="OUT", help="OUT.zip, or a folder")
    prepare.add_argument("--resolution", type=int, required=True, help="pixels, for instance 256")
    prepare.add_argument("--workers", type=int, help="processes (one a core)")
    prepare.add_argument("--format", dest="form", help="zip or folder; by default by OUT's name")
    prepare.add_argument(
        "--on-corrupt",
        default="skip",
        help="skip damaged and small images (default), or stop with an error",
    )
    prepare.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    prepare.add_argument(
        "--only", metavar="NAME", help="only the images of a split: lsun_bedroom256, …"
    )
    prepare.add_argument("--json", action="store_true", help="print the report as JSON")
    prepare.set_defaults(work=_prepare)

    inspect = commands.add_parser(
        "inspect", help="count images, sizes, modes, damage and duplicates"
    )
    inspect.add_argument(
        "source", metavar="SRC", help="a folder, a .zip archive, an LMDB or one image"
    )
    for command in (prepare, inspect):
        command.add_argument(
            "--megapixels", type=float, metavar="N", help="the largest image that is read (134)"
        )
    inspect.add_argument("--json", action="store_true", help="as JSON")
    inspect.set_defaults(work=_inspect)
    return parser


main = functools.partial(command_line, _parser)


def _prepare(given: argparse.Namespace) -> None:
    from idinvert.data.pool import cores  # loads torch, which takes seconds
    from idinvert.data.prepare import prepare, report_file

    report = prepare(
        given.source,
        given.out,
        resolution=given.resolution,
        workers=cores() if given.workers is None else given.workers,
        form=given.form,
        on_corrupt=given.on_corrupt,
        limit=given.limit,
        only=given.only,
        megapixels=given.megapixels,
    )
    if given.json:
        print(json.dumps(report, indent=2))
        return
    out = Path(given.out).expanduser()
    print("\n".join(_in_lines(report, out=out, beside=report_file(out))))


def _in_lines(report: dict[str, Any], *, out: Path, beside: Path) -> list[str]:
    from idinvert.data.scan import left_out_words

    settings, dropped = report["settings"], report["dropped_images"]
    counts = ", ".join(f"{count:,} {why}" for why, count in report["dropped"].items())
    left = [f"not read  {line}" for line in report.get("left_out", ())]
    if words := left_out_words(report["dropped"]["corrupt"], report["dropped"]["small"]):
        left.append(f"left out  {words}")
    lines = [
        f"{out}: {report['kept']:,} of {report['looked_at']:,} images, "
        f"{settings['resolution']} pixels, {settings['format']}",
        *left,
        f"dropped   {counts}",
    ]
    lines += [f"  {row['why']:9s} {row['name']}: {row['detail']}" for row in dropped[:_SHOWN]]
    if len(dropped) > _SHOWN:
        lines.append(f"  … and {len(dropped) - _SHOWN:,} more")
    lines.append(f"content   {report['content_sha256']}")
    lines.append(f"report    {beside}")
    lines.append(f"use it    data={settings['only'] or 'folder'} data.path={out}")
    return lines


def _inspect(given: argparse.Namespace) -> None:
    from idinvert.data.inspection import in_lines, inspect

    facts = inspect(given.source, megapixels=given.megapixels)
    print(json.dumps(facts, indent=2) if given.json else "\n".join(in_lines(facts)))


if __name__ == "__main__":
    sys.exit(main())
