"""The images of a ``data`` node, opened once in an evaluation however many ask for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from idinvert.config.identity import digest_of
from idinvert.config.instantiate import build
from idinvert.data.domain import Domain

_OPENED: ContextVar[dict[str, Domain] | None] = ContextVar("opened", default=None)


@contextmanager
def data_opened_once() -> Iterator[None]:
    """Meanwhile `open_data` opens the same images once."""
    token = _OPENED.set({})
    try:
        yield
    finally:
        _OPENED.reset(token)


def open_data(node: dict[str, Any]) -> Domain:
    """The images of a ``data`` node.

    Raises:
        IdinvertError: They cannot be opened.
    """
    known = _OPENED.get()
    if known is None:
        return build(node, key="data")
    key = digest_of(node)
    if key not in known:
        known[key] = build(node, key="data")
    return known[key]
