"""A proxy between a client and an object store that disturbs requests."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>as the test wants</Message></Error>"""


@dataclass
class FaultyBucket:
    """What the proxy does with requests; numbers start at 1, and 0 means none.

    Attributes:
        port: of the server behind it.
        seen: the requests, such as `PUT /bucket/key`.
        refusals: answers, as status and code, to the next requests that change something.
        changes: how many of them change something.
        kills_at: the number of the request that changes something at which `victim` is killed.
        kills_after: whether the server has done the request by then.
        victim: id of a process.
        ignores_conditions: leave If-Match and If-None-Match out, as some servers do.
    """

    port: int
    seen: list[str] = field(default_factory=list)
    changes: int = 0
    refusals: list[tuple[int, str]] = field(default_factory=list)
    kills_at: int = 0
    kills_after: bool = False
    victim: int = 0
    ignores_conditions: bool = False
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, request: str) -> tuple[bool, tuple[int, str] | None]:
        """Note a request; return whether it is the one to kill at, and the refusal to answer."""
        with self.lock:
            self.seen.append(request)
            changes = request.startswith(("PUT", "POST", "DELETE"))
            self.changes += changes
            refusal = self.refusals.pop(0) if self.refusals and changes else None
            return changes and self.changes == self.kills_at, refusal

    def kill(self) -> None:
        """Kill the victim, which waits for its answer."""
        while not self.victim:  # the test is about to be told its id
            time.sleep(0.01)
        os.kill(self.victim, signal.SIGKILL)


def _handler(bucket: FaultyBucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_last, refusal = bucket.receive(f"{self.command} {self.path}")
            if is_last and not bucket.kills_after:
                bucket.kill()
                self.close_connection = True
                return
            if refusal is not None:
                status, code = refusal
                self._answer(status, {}, ANSWER.format(code=code).encode())
                return
            status, headers, content = self._ask(body)
            if is_last:
                bucket.kill()
                self.close_connection = True
                return
            self._answer(status, headers, content)

        def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            dropped = {"connection"}
            if bucket.ignores_conditions:
                dropped |= {"if-match", "if-none-match"}
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in dropped
            }
            connection = http.client.HTTPConnection("127.0.0.1", bucket.port, timeout=60)
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                is_ours = name.lower() in {"connection", "transfer-encoding"}
                if not is_ours and (self.command == "HEAD" or name.lower() != "content-length"):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815 of the library

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def faulty_bucket(port: int, path: str = "") -> Iterator[FaultyBucket]:
    """Yield a running proxy before the server with this port; its URL has this path."""
    bucket = FaultyBucket(port)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        handle_error: Callable[..., None] = staticmethod(lambda *_: None)  # the client was killed

    with Server(("127.0.0.1", 0), _handler(bucket)) as server:
        bucket.url = f"http://127.0.0.1:{server.server_port}{path}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()
