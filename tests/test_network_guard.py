"""The guard that every test stands under: nothing but loopback can be reached."""

import socket

import pytest

OUTSIDE = "192.0.2.1"  # TEST-NET-1, which nobody owns
OUTSIDE_6 = "2001:db8::1"


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, (OUTSIDE, 80)), (socket.AF_INET6, (OUTSIDE_6, 80, 0, 0))],
)
def test_the_outside_cannot_be_reached(method, family, address):
    with (
        socket.socket(family) as client,
        pytest.raises(ConnectionRefusedError, match="a test tried to reach"),
    ):
        client.settimeout(0.2)
        getattr(client, method)(address)


def test_names_that_only_begin_like_loopback_are_outside():
    with socket.socket() as client, pytest.raises(ConnectionRefusedError, match="a test tried"):
        client.connect(("127.example.invalid", 80))


def test_nor_by_what_stands_on_sockets():
    with pytest.raises(ConnectionRefusedError, match="a test tried to reach"):
        socket.create_connection((OUTSIDE, 80), timeout=0.2)


def test_loopback_can_be_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"x")
        taken, _ = server.accept()
        with taken:
            assert taken.recv(1) == b"x"
