"""Classes that have moved: stored configurations still open, and their runs keep their ids."""

from typing import Any

MOVED = {
    "idinvert.inversion.in_domain.InDomain": "idinvert.inversion.optimize_codes.InDomain",
    "idinvert.inversion.free.Free": "idinvert.inversion.optimize_codes.Free",
    "idinvert.inversion.image2stylegan.Image2": "idinvert.inversion.optimize_codes.Image2",
    "idinvert.cli.tasks.own_images.invert_own": "idinvert.evaluation.invert.invert",
    "idinvert.cli.tasks.initial.": "idinvert.evaluation.untrained_encoder.",
    "idinvert.cli.tasks.": "idinvert.evaluation.",
    "idinvert.weights.": "idinvert.checkpoints.",
    "idinvert.data.miniature.": "idinvert.toy.miniature.",
}
"""Beginning of a ``_target_`` when runs were first stored with it, to where it is now."""


def present_targets(node: Any) -> Any:
    """A stored configuration whose ``_target_`` values name classes where they are now."""
    return _renamed(node, MOVED)


def original_targets(node: Any) -> Any:
    """The same with the first names, which identities are made of: a move makes no other run."""
    return _renamed(node, {new: old for old, new in MOVED.items()})


def _renamed(node: Any, prefixes: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(value, prefixes) for value in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _target(value, prefixes) if key == "_target_" else _renamed(value, prefixes)
        for key, value in node.items()
    }


def _target(name: str, prefixes: dict[str, str]) -> str:
    for before, after in prefixes.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name
