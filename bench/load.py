"""A load generator that costs little: ready-made requests over plain sockets, one thread a connection.

Client, server and database share the machine, so what the client burns is missing elsewhere.
"""

import queue
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class LoadResult:
    """What came of a run: seconds of each request, answers by status, and how long all of it took."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    elapsed: float = 0.0

    def percentile(self, share: float) -> float:
        """Give a percentile of the latency in milliseconds; 0 when nothing was sent."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def make_request(url: str, path: str, token: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Give the bytes of a POST."""
    host = urlsplit(url).netloc
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def make_get(url: str, path: str, token: str) -> bytes:
    """Give the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def send_all(url: str, requests: Iterable[bytes], *, connections: int, per_second: float | None = None) -> LoadResult:
    """Send every request once over so many connections at once, each waiting for its answer.

    With `per_second` requests go out at that rate, or as fast as answers come where these are slower.
    """
    split = urlsplit(url)
    address = (split.hostname or "127.0.0.1", split.port or 80)
    waiting: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
    for number, request in enumerate(requests):
        waiting.put((number / per_second if per_second else 0.0, request))
    for _ in range(connections):
        waiting.put(None)
    results = [LoadResult() for _ in range(connections)]
    failures: list[BaseException] = []

    def work(result: LoadResult) -> None:
        try:
            with socket.create_connection(address, timeout=60) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while (taken := waiting.get()) is not None:
                    due, request = taken
                    if (early := start + due - time.perf_counter()) > 0:
                        time.sleep(early)
                    began = time.perf_counter()
                    connection.sendall(request)
                    status = _read_answer(connection)
                    result.seconds.append(time.perf_counter() - began)
                    result.statuses[status] = result.statuses.get(status, 0) + 1
        except BaseException as error:
            failures.append(error)

    start = time.perf_counter()
    threads = [threading.Thread(target=work, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = LoadResult(elapsed=time.perf_counter() - start)
    if failures:
        raise failures[0]
    for result in results:
        total.seconds.extend(result.seconds)
        for status, count in result.statuses.items():
            total.statuses[status] = total.statuses.get(status, 0) + count
    return total


def _read_answer(connection: socket.socket) -> int:
    """Read one answer with a Content-Length or in chunks; gives its status."""
    data = connection.recv(65536)
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lowered = head.lower()
    status = int(head[9:12])
    at = lowered.find(b"content-length:")
    if at >= 0:
        length = int(lowered[at + 15 :].split(b"\r\n", 1)[0])
        missing = length - len(body)
        while missing > 0:
            missing -= len(connection.recv(min(missing, 65536)))
    elif b"transfer-encoding: chunked" in lowered:
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
    return status
