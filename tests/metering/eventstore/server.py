"""ClickHouse's engine (`chdb`) behind enough of its HTTP interface for the real client: `python -m … PORT`.

A process of its own, because the engine does not share one with forks and signals of others.
"""

import gzip
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chdb.session import Session

_session = Session()
_lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        named = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        text = named.pop("query", "")
        sql = f"{text}\n{body.decode()}" if text else body.decode()
        values = {name.removeprefix("param_"): value for name, value in named.items() if name.startswith("param_")}
        settings = {name: value for name, value in named.items() if name in {"max_partitions_per_insert_block"}}
        status, answer = 200, b""
        try:
            with _lock:
                for name, value in settings.items():
                    _session.query(f"SET {name} = {int(value)}")
                result: Any = _session.query(sql, named.get("default_format", "TabSeparated"), params=values or None)
                answer = bytes(result.bytes() or b"") if result is not None else b""
        except Exception as error:
            status, answer = 500, f"Code: 1. DB::Exception: {error}".encode()
        self.send_response(status)
        if status != 200:
            self.send_header("X-ClickHouse-Exception-Code", "1")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: Any) -> None:
        return None


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
