"""``python -m idinvert.checkpoints``: inspect, convert, list and fetch checkpoints."""

import argparse
import functools
import json
import sys
from dataclasses import asdict

from idinvert.errors import as_typed, command_line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m idinvert.checkpoints", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="inspect | convert | list | fetch")

    inspect = commands.add_parser(
        "inspect", help="what a checkpoint is and holds; runs nothing from the file"
    )
    inspect.add_argument(
        "file", metavar="FILE", help="a checkpoint of any family, or a run's folder"
    )
    inspect.add_argument("--network", help="which generator, where there are several: g_ema or g")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    _add_settings(inspect)
    inspect.set_defaults(work=_inspect)

    convert = commands.add_parser("convert", help="to this project's files, or out to others'")
    convert.add_argument(
        "file", metavar="FILE", help="a checkpoint of any family, or a run's folder"
    )
    convert.add_argument(
        "out",
        metavar="OUT",
        help="OUT.safetensors (D and E go beside it), or a folder for one file a network",
    )
    convert.add_argument("--network", help="which generator, where there are several: g_ema or g")
    convert.add_argument(
        "--role", help="only this network: generator, discriminator, encoder or attributes"
    )
    convert.add_argument(
        "--to", default="native", help="native (default), or rosinality or nvlabs: a plain .pt file"
    )
    convert.add_argument(
        "--half", action="store_true", help="round to float16, half the size; loads as float32"
    )
    convert.add_argument(
        "--drop-clamp", action="store_true", help="let rosinality's layout leave out conv_clamp"
    )
    convert.add_argument("--force", action="store_true", help="replace what is there")
    _add_settings(convert)
    convert.set_defaults(work=_convert)

    listing = commands.add_parser("list", help="published weights: name, size, licence, where")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(work=_list)

    fetch = commands.add_parser(
        "fetch", help="bring published weights into the cache folder; resumable"
    )
    fetch.add_argument("name", metavar="NAME", help="a name that list shows")
    fetch.add_argument(
        "--from", dest="source", metavar="FILE", help="a local file or folder to copy it from"
    )
    fetch.set_defaults(work=_fetch)
    return parser


main = functools.partial(command_line, _parser)


_SETTINGS = {
    "fused_scale": "whether upsampling layers are fused: true, false or auto (from 128 px on)",
    "final_tanh": "whether tanh bounds the images: true or false",
    "conv_clamp": "StyleGAN2: bound on the layers' outputs: a number (NVlabs: 256) or none",
    "mapping_lr_mul": "StyleGAN2: learning-rate multiplier of the mapping (usually 0.01)",
}


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the generator was built with, if the file does not say")
    for name, words in _SETTINGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=words)


def _settings(given: argparse.Namespace) -> dict[str, str]:
    return {name: getattr(given, name) for name in _SETTINGS}


def _inspect(given: argparse.Namespace) -> None:
    from idinvert.checkpoints.describe import describe, in_lines

    facts = describe(given.file, network=given.network, settings=_settings(given))
    if given.json:
        print(json.dumps(facts, indent=2, default=str))
    else:
        print("\n".join(in_lines(facts)))


def _convert(given: argparse.Namespace) -> None:
    from idinvert.checkpoints.convert import convert

    files = convert(
        given.file,
        given.out,
        to=given.to,
        network=given.network,
        role=given.role,
        half=given.half,
        drop_clamp=given.drop_clamp,
        force=given.force,
        settings=_settings(given),
    )
    for role, file in files.items():
        print(f"{role:13s} {file}")
    if given.to == "native" and "generator" in files:
        print(f"use it: generator=checkpoint generator.path={files['generator']}")
    if given.to == "native" and "encoder" in files:
        print(as_typed(f"use it: python evaluate.py encoder.path={files['encoder']}"))


def _list(given: argparse.Namespace) -> None:
    from idinvert.checkpoints.fetch import all_entries
    from idinvert.checkpoints.registry import digest_in_words, size_in_words
    from idinvert.data.content import weights_cache_dir

    entries = all_entries().values()
    here = {entry.name: (weights_cache_dir() / entry.filename).is_file() for entry in entries}
    if given.json:
        rows = [
            asdict(entry) | {"sha256": entry.sha256 or None, "here": here[entry.name]}
            for entry in entries
        ]
        print(json.dumps(rows, indent=2))
        return
    for entry in entries:
        print(f"{entry.name}{'  (in the cache)' if here[entry.name] else ''}")
        print(f"  {entry.purpose}")
        print(f"  {entry.filename}, {size_in_words(entry)}, {entry.licence}")
        print(f"  sha256 {digest_in_words(entry)}")
        print(f"  {entry.url}")
    print(f"cache folder: {weights_cache_dir()}")


def _fetch(given: argparse.Namespace) -> None:
    from idinvert.checkpoints.fetch import entry_of, fetch
    from idinvert.data.content import file_hash

    path = fetch(given.name, source=given.source)
    if not entry_of(given.name).sha256:
        print(f"its publisher states no sha256; this file has {file_hash(path)}")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
