"""Checks answered by the web server's worker itself: Django's middleware costs several times what they do.

Only plain calls are: what is not, or not well-formed, goes on to the view, which names what is wrong with it. Both
read the same questions, ask the same service and write the same answer.
"""

import io
import logging
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from http import HTTPStatus
from secrets import token_hex
from typing import Any

import msgspec
import pghistory
from django.db import InterfaceError, OperationalError, connection

from apps.catalog.domain.templates import read_units
from apps.entitlements.api.answers import NAMES, answer_questions
from apps.entitlements.api.base import READ, WRITE
from apps.entitlements.api.inputs import LONGEST_HOLD_SECONDS, QUESTIONS_AT_ONCE
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError, UnavailableError
from apps.kernel.http.authentication import secret_of
from apps.kernel.http.exceptions import error_body, error_headers
from apps.kernel.http.principal import Principal
from apps.kernel.http.renderers import encode_answer
from apps.organizations.selectors.principals import find_principal
from apps.organizations.services.keys import note_use

CHECK_PATH = "/v1/entitlements/check"
BODY_BYTES = 256 * 1024
NUMBER = re.compile(rb"\d+(\.\d+)?")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Text = str | msgspec.UnsetType

logger = logging.getLogger(__name__)


class QuestionBody(msgspec.Struct):
    customerId: Text = msgspec.UNSET
    externalCustomerId: Text = msgspec.UNSET
    featureId: Text = msgspec.UNSET
    featureKey: Text = msgspec.UNSET
    productId: Text = msgspec.UNSET
    pricingUnitId: Text = msgspec.UNSET
    quantity: msgspec.Raw = msgspec.Raw()
    reserveSeconds: int | msgspec.UnsetType = msgspec.UNSET
    idempotencyKey: Text = msgspec.UNSET


class CheckBody(msgspec.Struct):
    questions: list[QuestionBody]
    consistent: bool = False


_decoder = msgspec.json.Decoder(CheckBody)


def with_checks(application: Application) -> Application:
    """Answer plain checks here and give everything else to `application`."""

    def route(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != CHECK_PATH or environ["REQUEST_METHOD"] != "POST":
            return application(environ, start_response)
        found = _answer(environ)
        if found is None:
            return application(environ, start_response)
        status, body, headers = found
        start_response(
            f"{status} {HTTPStatus(status).phrase}",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("X-Request-Id", token_hex(8)),
                *headers.items(),
            ],
        )
        return [body]

    return route


def _answer(environ: dict[str, Any]) -> tuple[int, bytes, dict[str, str]] | None:
    """Give status, body and headers; None where the view should answer, with the body put back."""
    length = environ.get("CONTENT_LENGTH", "")
    # A call with a key of its own is answered once and remembered, by the middleware.
    if (
        "HTTP_IDEMPOTENCY_KEY" in environ
        or environ.get("QUERY_STRING")
        or not length.isdecimal()
        or int(length) > BODY_BYTES
    ):
        return None
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = io.BytesIO(body)
    asked = read_questions(body)
    secret = secret_of(environ.get("HTTP_AUTHORIZATION", ""))
    if asked is None or secret is None:
        return None
    rows, is_consistent = asked
    is_reserving = any("reserveSeconds" in row for row in rows)
    try:
        now = wall_now()
        principal = find_principal(secret=secret, as_of=now)
        if principal is None or not principal.allows(READ) or (is_reserving and not principal.allows(WRITE)):
            return None
        note_use(key_id=principal.key_id, as_of=now)
        found = _ask(principal, rows, is_consistent=is_consistent, is_reserving=is_reserving)
        return 200, encode_answer(found), {}
    except DomainError as error:
        return error.status, encode_answer(error_body(error)), error_headers(error)
    except (OperationalError, InterfaceError):
        # It may be this connection alone that broke; the view has a new one.
        connection.close()
        if not is_reserving:
            return None
        # Whether it was committed is unknown: without a key a second try may set the units aside twice.
        away = UnavailableError("Units cannot be set aside right now; ask again.", retry_after_seconds=2)
        return away.status, encode_answer(error_body(away)), error_headers(away)
    except Exception:  # nothing stands between this path and the server, which would answer without a body
        logger.exception("unhandled error in %s", CHECK_PATH)
        failed = {"message": "Something went wrong on our side.", "error": "internal_error", "code": "INTERNAL_ERROR"}
        return 500, encode_answer(failed), {}


def _ask(
    principal: Principal, rows: list[dict[str, Any]], *, is_consistent: bool, is_reserving: bool
) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        return answer_questions(principal.organization_id, rows, is_consistent=is_consistent)

    if not is_reserving:
        return ask()
    # As the middleware does: the history of what changes says who changed it.
    with pghistory.context(user=principal.user_id, api_key=principal.key_id, url=CHECK_PATH):
        return ask()


def read_questions(body: bytes) -> tuple[list[dict[str, Any]], bool] | None:
    """Read questions as the view's serializer would; None for a body that it has to look at itself."""
    try:
        found = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not 0 < len(found.questions) <= QUESTIONS_AT_ONCE:
        return None
    rows = []
    for question in found.questions:
        row = _read_question(question)
        if row is None:
            return None
        rows.append(row)
    return rows, found.consistent


def _read_question(question: QuestionBody) -> dict[str, Any] | None:
    row: dict[str, Any] = {}
    for name in (*NAMES, "idempotencyKey"):
        value = getattr(question, name)
        if value is msgspec.UNSET:
            continue
        if not 0 < len(value) <= 255 or not value.isascii() or not value.isprintable() or value != value.strip():
            return None
        row[name] = value
    if ("customerId" in row) == ("externalCustomerId" in row):
        return None
    if sum(name in row for name in ("featureId", "featureKey", "pricingUnitId")) != 1:
        return None
    if "featureKey" in row and "productId" not in row:
        return None
    raw = bytes(question.quantity)
    if raw:
        amount = _read_amount(raw)
        if amount is None:
            return None
        row["quantity"] = amount
    if question.reserveSeconds is not msgspec.UNSET:
        if not 1 <= question.reserveSeconds <= LONGEST_HOLD_SECONDS or not row.get("quantity"):
            return None
        row["reserveSeconds"] = question.reserveSeconds
    return row


def _read_amount(raw: bytes) -> Decimal | None:
    text = raw.decode()
    return read_units(Decimal(text)) if NUMBER.fullmatch(raw) else None
