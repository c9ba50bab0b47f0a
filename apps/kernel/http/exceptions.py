import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import page_not_found
from rest_framework import exceptions
from rest_framework.response import Response

from apps.kernel.errors import DomainError, InvalidError, NotFoundError

logger = logging.getLogger(__name__)


def error_body(error: DomainError) -> dict[str, Any]:
    """Give the wire form of a domain error: `{message, code, error, details}` or the validation form."""
    if isinstance(error, InvalidError) and error.errors:
        return {
            "error": "validation_error",
            "message": error.message,
            "code": error.code,
            "errors": [{"field": e.field, "message": e.message, "code": e.code} for e in error.errors],
        }
    body: dict[str, Any] = {"message": error.message, "error": error.error, "code": error.code}
    if error.details:
        body["details"] = error.details
    if getattr(error, "reason", None):
        body["reason"] = error.reason  # type: ignore[attr-defined]
        body["requiredPermissions"] = list(getattr(error, "required_permissions", ()))
    return body


def error_headers(error: DomainError) -> dict[str, str]:
    """Give the headers that belong to an error: the wait before a retry, the way to sign in."""
    headers: dict[str, str] = {}
    if getattr(error, "retry_after_seconds", None):
        headers["Retry-After"] = str(error.retry_after_seconds)  # type: ignore[attr-defined]
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def json_error(error: DomainError) -> JsonResponse:
    """Render a domain error outside REST framework (middleware, plain views)."""
    return JsonResponse(error_body(error), status=error.status, headers=error_headers(error))


def nothing_here(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a path that nobody serves: programs get a body that they can read, people a page."""
    if not request.path.startswith(("/v0/", "/v1/", "/v2/")):
        return page_not_found(request, exception)
    return json_error(NotFoundError(f"There is nothing at {request.path}."))


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """The one place where an exception becomes an answer."""
    if isinstance(error, DomainError):
        return Response(error_body(error), status=error.status, headers=error_headers(error))
    if isinstance(error, exceptions.ValidationError):
        return Response(
            {
                "error": "validation_error",
                "message": _summary(error.detail),
                "code": "VALIDATION_ERROR",
                "errors": list(_flatten(error.detail)),
            },
            status=400,
        )
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is no such object.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        code = str(error.default_code)
        body = {"message": str(error.detail), "error": code, "code": code.upper()}
        headers = {}
        if getattr(error, "wait", None):
            headers["Retry-After"] = str(int(error.wait) + 1)  # type: ignore[attr-defined]
        return Response(body, status=error.status_code, headers=headers)
    logger.exception("unhandled error in %s", context.get("view").__class__.__name__)
    return Response(
        {"message": "Something went wrong on our side.", "error": "internal_error", "code": "INTERNAL_ERROR"},
        status=500,
    )


def _flatten(detail: Any, path: str = "") -> Any:
    """Yield `{field, message, code}` for every leaf of a nested validation detail."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            own = "" if key == "non_field_errors" else str(key)
            yield from _flatten(value, ".".join(part for part in (path, own) if part))
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            nested = isinstance(value, dict | list)
            yield from _flatten(value, f"{path}.{index}" if nested and path else path)
    else:
        yield {"field": path, "message": str(detail), "code": str(getattr(detail, "code", "invalid"))}


def _summary(detail: Any) -> str:
    found = list(_flatten(detail))
    first = found[0]
    named = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return named if len(found) == 1 else f"{named} (and {len(found) - 1} more)"
