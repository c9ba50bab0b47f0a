"""The load generator against another system: an address, a token and a template are all it needs."""

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.ingest import add_arguments, run

TEMPLATE = '{"id":"%(key)s","who":"%(subject)s","at":"%(time)s","model":"%(model)s","in":%(input)d,"out":%(output)d}'


@contextmanager
def another_system(token: str) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Run a server that takes whatever comes with the token; gives its address and what it took."""
    taken: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            is_known = self.headers["Authorization"] == f"Bearer {token}"
            if is_known:
                taken.append((self.path, body))
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("token", ["right", "wrong"])
def test_only_what_was_taken_counts(tmp_path: Path, token: str) -> None:
    template = tmp_path / "event.json"
    template.write_text(TEMPLATE)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with another_system("right") as (url, taken):
        arguments = parser.parse_args(
            ["--url", url, "--token", token, "--template", str(template), "--path", "/intake",
             "--events", "250", "--singles", "5", "--rounds", "2", "--connections", "2", "--only", "batches of 100"]
        )  # fmt: skip
        found = run(arguments)["cases"]["batches of 100"]
    if token == "wrong":
        assert (found["accepted"], taken) == (0, [])
        return
    assert found["accepted"] > 0
    assert [(path, len(body)) for path, body in taken] == [("/intake", 100)] * 4
    events = [event for _, body in taken for event in body]
    assert len({event["id"] for event in events}) == 400
    assert set(events[0]) == {"id", "who", "at", "model", "in", "out"}
