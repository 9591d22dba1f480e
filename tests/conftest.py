"""What every test stands under: no network, no GPU, one thread, a cache of its own."""

import socket

import pytest
import torch

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run two at a time on two cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but loopback is an error, so that nothing downloads unseen."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and not str(host).startswith(LOOPBACK):
            raise ConnectionRefusedError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendered images go to a folder of this test process, not to the user's cache."""
    base = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("IDINVERT_CACHE", str(base))
