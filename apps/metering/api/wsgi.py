"""The ways in for events, answered by the web server's worker itself: Django's middleware costs more than they do."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from secrets import token_hex
from typing import Any

from apps.metering.api.ingest import BATCH_PATH, EVENT_PATH, IngestCall, answer_call
from apps.metering.services.pressure import keep_pressure

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def with_ingest(application: Application) -> Application:
    """Answer POSTs of events here and give everything else to `application`."""

    def route(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] in (EVENT_PATH, BATCH_PATH) and environ["REQUEST_METHOD"] == "POST":
            return _ingest(environ, start_response)
        return application(environ, start_response)

    return route


def _ingest(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    keep_pressure()
    found = answer_call(
        IngestCall(
            path=environ["PATH_INFO"],
            authorization=environ.get("HTTP_AUTHORIZATION", ""),
            content_type=environ.get("CONTENT_TYPE", ""),
            content_encoding=environ.get("HTTP_CONTENT_ENCODING", ""),
            content_length=environ.get("CONTENT_LENGTH", ""),
            read=environ["wsgi.input"].read,
        )
    )
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(found.body))),
        ("X-Request-Id", token_hex(8)),
        *found.headers.items(),
    ]
    start_response(f"{found.status} {HTTPStatus(found.status).phrase}", headers)
    return [found.body]
