"""A server on loopback that serves one file by parts, and misbehaves as it is told."""

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server does; `asked` fills with the Range header of each request."""

    content: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    drops: list[int] = field(default_factory=list)  # bytes after which a connection ends, in order
    codes: list[int] = field(default_factory=list)  # answers before the real one, in order
    page: bool = False
    shift: int = 0  # a part that begins elsewhere than asked
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serving(behaviour: Behaviour) -> Iterator[Behaviour]:
    """Serves until the block ends; `behaviour.url` is the file's address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            behaviour.asked.append(self.headers["Range"])
            self.close_connection = True
            if behaviour.codes:
                self.send_error(behaviour.codes.pop(0))
                return
            if behaviour.page:
                self._send(200, b"<html>confirm</html>", kind="text/html; charset=utf-8")
                return
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            same = self.headers["If-Range"] == behaviour.etag
            if not (asked and same and behaviour.ranges):
                self._send(200, behaviour.content)
                return
            start, whole = int(asked[1]) + behaviour.shift, len(behaviour.content)
            if start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            span = f"bytes {start}-{whole - 1}/{whole}"
            self._send(206, behaviour.content[start:], span=span)

        def _send(
            self, code: int, body: bytes, *, kind: str = "application/octet-stream", span: str = ""
        ) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if behaviour.etag:
                self.send_header("ETag", behaviour.etag)
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            self.wfile.write(body[: behaviour.drops.pop(0)] if behaviour.drops else body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    behaviour.url = f"http://127.0.0.1:{server.server_port}/files/weights.bin"
    try:
        yield behaviour
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
