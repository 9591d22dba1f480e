"""What every test stands under: no network, no GPU, one thread, a cache of its own."""

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch


def pytest_configure() -> None:
    """One thread for each process: tests run two at a time on two cores."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A connection to anything but loopback is an error, so that nothing downloads unseen."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    """The method, for loopback only; sockets that are files are not the network."""

    def to_loopback(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
            raise ConnectionRefusedError(f"a test tried to reach {address}")
        return connect(self, address)

    return to_loopback


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by address or by its one sure name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Rendered images go to a folder of this test process, not to the user's cache."""
    base = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("IDINVERT_CACHE", str(base))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """The cache is an empty folder of this test alone, and no mirror is named."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IDINVERT_MIRROR", raising=False)
