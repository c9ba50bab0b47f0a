"""Taking meter events: outside REST framework and its middleware, because this is the path that must be fast.

`answer_call` is all there is to it; `IngestView` calls it from Django's router, `apps.metering.api.wsgi` from the
server itself. Keys, refusals and answers are those of the rest of the API.
"""

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from apps.kernel.clock import wall_now
from apps.kernel.errors import (
    DomainError,
    FieldError,
    ForbiddenError,
    InvalidError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
)
from apps.kernel.http.authentication import secret_of
from apps.kernel.http.exceptions import error_body, error_headers
from apps.kernel.http.principal import Principal
from apps.kernel.time import format_instant
from apps.metering.api.doorbell import ring
from apps.metering.domain.drafts import EventDraft, Problem
from apps.metering.domain.wire import MalformedError, TooManyError, read_event, read_events
from apps.metering.services.committing import stage_together
from apps.metering.services.pressure import pressure
from apps.metering.services.staging import Rejection, Verdicts, accept_events, check_events, stage
from apps.organizations.selectors.principals import find_principal
from apps.organizations.services.keys import note_use

SCOPE = "events:create"
BATCH_EVENTS = 1_000
BODY_BYTES = 10 * 1024 * 1024
EVENT_PATH = "/v0/events"
BATCH_PATH = "/v0/events/batch"
# What a caller should wait before it tries again when the database is away.
RETRY_SECONDS = 2
# Names of a body's coding, with what they mean.
CODINGS = {"": "identity", "identity": "identity", "gzip": "gzip", "x-gzip": "gzip"}

logger = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()


class PayloadTooLargeError(DomainError):
    status = 413
    error = "payload_too_large"
    default_code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaTypeError(DomainError):
    status = 415
    error = "unsupported_media_type"
    default_code = "UNSUPPORTED_MEDIA_TYPE"


class InternalError(DomainError):
    status = 500
    error = "internal_error"
    default_code = "INTERNAL_ERROR"


@dataclass(slots=True)
class IngestCall:
    """A request as this path needs it, whoever received it.

    Attributes:
        read: gives at most so many bytes of the body.
    """

    path: str
    authorization: str
    content_type: str
    content_encoding: str
    content_length: str
    read: Callable[[int], bytes]


@dataclass(slots=True)
class IngestAnswer:
    """What goes back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def answer_call(call: IngestCall) -> IngestAnswer:
    """Take the events of a call; 202 means they are committed.

    A connection that broke is replaced once: whatever the first try may have committed is found again by its keys.
    """
    try:
        try:
            return _take(call, body := _body(call), _principal(call))
        except (OperationalError, InterfaceError):
            connection.close()
            return _take(call, body, _principal(call))
    except DomainError as error:
        return _refuse(error)
    except (OperationalError, InterfaceError):
        connection.close()
        return _refuse(
            UnavailableError("Events cannot be stored right now; send them again.", retry_after_seconds=RETRY_SECONDS)
        )
    except Exception:  # nothing stands between this path and the server, which would answer without a body
        logger.exception("unhandled error in %s", call.path)
        return _refuse(InternalError("Something went wrong on our side."))


@method_decorator(csrf_exempt, name="dispatch")
class IngestView(View):
    """Both ways in, behind Django's router: the test client, and servers that load Django's own application."""

    http_method_names = ["post", "options"]

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        body = {
            "message": "Send events with POST.",
            "error": "method_not_allowed",
            "code": "METHOD_NOT_ALLOWED",
        }
        return JsonResponse(body, status=405, headers={"Allow": "POST"})

    def post(self, request: HttpRequest) -> HttpResponse:
        headers = request.headers
        found = answer_call(
            IngestCall(
                path=request.path,
                authorization=headers.get("Authorization", ""),
                content_type=headers.get("Content-Type", ""),
                content_encoding=headers.get("Content-Encoding", ""),
                content_length=headers.get("Content-Length", ""),
                # Not `body`: the limit of this path is its own.
                read=request.read,
            )
        )
        return HttpResponse(found.body, status=found.status, content_type="application/json", headers=found.headers)


def _principal(call: IngestCall) -> Principal:
    secret = secret_of(call.authorization)
    if secret is None:
        raise UnauthenticatedError("Send your API key as `Authorization: Bearer sk_…`.")
    now = wall_now()
    principal = find_principal(secret=secret, as_of=now)
    if principal is None:
        raise UnauthenticatedError("This API key is unknown, revoked or expired; make a new one.")
    note_use(key_id=principal.key_id, as_of=now)
    if not principal.allows(SCOPE):
        raise ForbiddenError(
            f"This API key lacks the scope {SCOPE}.", reason="insufficient_scope", required_permissions=[SCOPE]
        )
    return principal


def _take(call: IngestCall, body: bytes, principal: Principal) -> IngestAnswer:
    try:
        return _take_batch(call, body, principal) if call.path == BATCH_PATH else _take_one(body, principal)
    except MalformedError as error:
        raise InvalidError(f"The body is not valid JSON: {error}") from None


def _take_one(body: bytes, principal: Principal) -> IngestAnswer:
    now = wall_now()
    event = read_event(body)
    pressure.admit(key_id=principal.key_id, events=1)
    verdicts = check_events(
        [event],
        organization_id=principal.organization_id,
        organization_public_id=principal.organization_public_id,
        as_of=now,
    )
    if verdicts.rejected:
        pressure.count("rejected", 1)
        raise _refusal([rejection.problem for rejection in verdicts.rejected])
    if verdicts.parked:
        return _put_aside(verdicts, principal, now)
    draft = verdicts.accepted[0][1]
    if draft.ignored_by:
        stage([draft], organization_id=principal.organization_id, as_of=now)
    else:
        stage_together(draft, organization_id=principal.organization_id, as_of=now)
    pressure.count("accepted", 1)
    ring()
    return IngestAnswer(202, _encoder.encode(_echo(draft, principal)))


def _put_aside(verdicts: Verdicts, principal: Principal, now: datetime) -> IngestAnswer:
    parked = list(verdicts.parked.values())
    stage([], organization_id=principal.organization_id, as_of=now, parked=parked)
    pressure.count("accepted", 1)
    pressure.count("parked", 1)
    echo = _echo(parked[0].draft, principal)
    return IngestAnswer(202, _encoder.encode({**echo, "parked": True, "parkedReason": parked[0].reason.value}))


def _take_batch(call: IngestCall, body: bytes, principal: Principal) -> IngestAnswer:
    is_lines = "ndjson" in call.content_type or body.lstrip()[:1] != b"["
    try:
        events = read_events(body, is_lines=is_lines, at_most=BATCH_EVENTS)
    except TooManyError as error:
        raise PayloadTooLargeError(f"Send at most {BATCH_EVENTS} events at once; {error}.") from None
    if not isinstance(events, list) or not events:
        raise InvalidError("Send a JSON array, or one JSON object a line.")
    if len(events) > BATCH_EVENTS:
        raise PayloadTooLargeError(f"Send at most {BATCH_EVENTS} events at once; this call had {len(events)}.")
    pressure.admit(key_id=principal.key_id, events=len(events))
    verdicts = accept_events(
        events,
        organization_id=principal.organization_id,
        organization_public_id=principal.organization_public_id,
        as_of=wall_now(),
    )
    if verdicts.accepted:
        ring()
    rejected = {rejection.index for rejection in verdicts.rejected}
    pressure.count("accepted", len(verdicts.accepted) + len(verdicts.parked))
    pressure.count("parked", len(verdicts.parked))
    pressure.count("repeated_in_batch", verdicts.repeated)
    pressure.count("rejected", len(rejected))
    answer: dict[str, Any] = {
        "object": "eventBatch",
        "accepted": len(verdicts.accepted) + len(verdicts.parked),
        "parked": len(verdicts.parked),
        "repeated": verdicts.repeated,
        "rejected": [_rejection(rejection) for rejection in verdicts.rejected],
    }
    if len(rejected) == len(events):
        answer["message"] = "None of the events could be taken."
        answer["code"] = "ALL_REJECTED"
        return IngestAnswer(422, _encoder.encode(answer))
    return IngestAnswer(202, _encoder.encode(answer))


def _body(call: IngestCall) -> bytes:
    length = call.content_length
    if length and (not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES):
        raise PayloadTooLargeError("The body is larger than 10 MiB; send fewer events at once.")
    coding = call.content_encoding.strip().lower()
    if coding not in CODINGS:
        raise UnsupportedMediaTypeError("Send the body as it is, or packed with gzip.")
    body = call.read(int(length) if length else BODY_BYTES + 1)
    if len(body) > BODY_BYTES:
        raise PayloadTooLargeError("The body is larger than 10 MiB; send fewer events at once.")
    if CODINGS[coding] == "identity":
        return body
    return _unpacked(body)


def _unpacked(body: bytes) -> bytes:
    """Unpack gzip: all of its members, since files that were packed apart may be sent as one."""
    found: list[bytes] = []
    left = BODY_BYTES
    while body:
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            part = inflater.decompress(body, left + 1)
        except zlib.error:
            raise InvalidError("The body is not valid gzip.") from None
        left -= len(part)
        if left < 0:
            raise PayloadTooLargeError("The unpacked body is larger than 10 MiB; send fewer events at once.")
        if not inflater.eof:
            raise InvalidError("The body is not valid gzip: its end is missing.")
        found.append(part)
        body = inflater.unused_data
    return b"".join(found)


def _refuse(error: DomainError) -> IngestAnswer:
    return IngestAnswer(error.status, _encoder.encode(error_body(error)), error_headers(error))


def _refusal(problems: list[Problem]) -> DomainError:
    first = problems[0]
    if first.code == "UNKNOWN_EVENT_TYPE":
        return UnprocessableError(first.message, code=first.code)
    if any(problem.code == "foreign_namespace" for problem in problems):
        return ForbiddenError("This API key does not belong to that namespace.", reason="not_member")
    return InvalidError(
        f"{first.field}: {first.message}" if first.field else first.message,
        errors=[FieldError(p.field, p.message, p.code) for p in problems],
    )


def _echo(draft: EventDraft, principal: Principal) -> dict[str, Any]:
    echo: dict[str, Any] = {
        "id": draft.public_id,
        "object": "event",
        "type": draft.event_type,
        "source": draft.source,
        "namespace": principal.organization_public_id,
        "timestamp": format_instant(draft.occurred_at),
        "idempotencyKey": draft.idempotency_key,
    }
    if not draft.is_external:
        echo["subject"] = draft.subject
    if draft.external_subject:
        echo["externalSubject"] = draft.external_subject
    if draft.external_id:
        echo["externalId"] = draft.external_id
    return echo


def _rejection(rejection: Rejection) -> dict[str, Any]:
    return {
        "index": rejection.index,
        "idempotencyKey": rejection.idempotency_key,
        "code": rejection.problem.code,
        "field": rejection.problem.field,
        "message": rejection.problem.message,
    }
