import logging
from collections.abc import Callable
from contextvars import ContextVar
from secrets import token_hex

from django.http import Http404, HttpRequest, HttpResponse

from apps.kernel.errors import InvalidError
from apps.kernel.http.exceptions import json_error, nothing_here

_current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdMiddleware:
    """Give every request an id, in the log lines and in the answer's `X-Request-Id`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = token_hex(8)
        token = _current.set(request_id)
        try:
            response = self.get_response(request)
        finally:
            _current.reset(token)
        response["X-Request-Id"] = request_id
        return response


class PlainAddressMiddleware:
    """Refuse addresses with the NUL character: no text of the database holds it, so they can name nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path:
            return nothing_here(request, Http404())
        if "%00" in request.META.get("QUERY_STRING", ""):
            return json_error(InvalidError("The query must not contain the NUL character; leave it out."))
        return self.get_response(request)


class RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get()
        return True
