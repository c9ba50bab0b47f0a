"""Taking meter events: outside REST framework, because this is the path that must be fast."""

import zlib
from decimal import Decimal
from typing import Any

import msgspec
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
    UnprocessableError,
)
from apps.kernel.http.exceptions import json_error
from apps.kernel.http.principal import Principal
from apps.kernel.time import format_instant
from apps.metering.api.doorbell import ring
from apps.metering.domain.drafts import EventDraft, Problem
from apps.metering.services.staging import Rejection, accept_events

SCOPE = "events:create"
BATCH_EVENTS = 1_000
BODY_BYTES = 10 * 1024 * 1024

# Exact numbers: 0.1 stays 0.1.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder()


class PayloadTooLargeError(DomainError):
    status = 413
    error = "payload_too_large"
    default_code = "PAYLOAD_TOO_LARGE"


@method_decorator(csrf_exempt, name="dispatch")
class IngestView(View):
    """What both ways in share: who calls, and one place where a refusal becomes an answer."""

    http_method_names = ["post", "options"]

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        body = {
            "message": "Send events with POST.",
            "error": "method_not_allowed",
            "code": "METHOD_NOT_ALLOWED",
        }
        return JsonResponse(body, status=405, headers={"Allow": "POST"})

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            principal: Principal | None = getattr(request, "principal", None)
            if principal is None:
                raise UnauthenticatedError("Send your API key as `Authorization: Bearer sk_…`.")
            if not principal.allows(SCOPE):
                raise ForbiddenError(
                    f"This API key lacks the scope {SCOPE}.",
                    reason="insufficient_scope",
                    required_permissions=[SCOPE],
                )
            return self.take(request, principal)
        except DomainError as error:
            return json_error(error)

    def take(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        raise AssertionError("each way in says how it takes events")


class EventIngest(IngestView):
    """`POST /v0/events`: one event; 202 means it is committed."""

    def take(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        raw = _decode(_body(request))
        now = wall_now()
        verdicts = accept_events(
            [raw],
            organization_id=principal.organization_id,
            organization_public_id=principal.organization_public_id,
            as_of=now,
        )
        if verdicts.rejected:
            raise _refusal([rejection.problem for rejection in verdicts.rejected])
        ring()
        return _json(_echo(verdicts.accepted[0][1], principal), 202)


class EventBatchIngest(IngestView):
    """`POST /v0/events/batch`: up to 1,000 events as a JSON array or as lines; a verdict for each."""

    def take(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        events = _events(request)
        verdicts = accept_events(
            events,
            organization_id=principal.organization_id,
            organization_public_id=principal.organization_public_id,
            as_of=wall_now(),
        )
        if verdicts.accepted:
            ring()
        rejected = {rejection.index for rejection in verdicts.rejected}
        body = {
            "object": "eventBatch",
            "accepted": len(verdicts.accepted),
            "repeated": verdicts.repeated,
            "rejected": [_rejection(rejection) for rejection in verdicts.rejected],
            "events": [
                {"index": index, "id": draft.public_id, "idempotencyKey": draft.idempotency_key}
                for index, draft in verdicts.accepted
            ],
        }
        if events and len(rejected) == len(events):
            body["message"] = "None of the events could be taken."
            body["code"] = "ALL_REJECTED"
            return _json(body, 422)
        return _json(body, 202)


def _events(request: HttpRequest) -> list[Any]:
    body = _body(request)
    is_lines = "ndjson" in (request.content_type or "") or body.lstrip()[:1] != b"["
    if is_lines:
        events: Any = [_decode(line) for line in body.splitlines() if line.strip()]
    else:
        events = _decode(body)
    if not isinstance(events, list) or not events:
        raise InvalidError("Send a JSON array, or one JSON object a line.")
    if len(events) > BATCH_EVENTS:
        raise PayloadTooLargeError(f"Send at most {BATCH_EVENTS} events at once; this call had {len(events)}.")
    return events


def _body(request: HttpRequest) -> bytes:
    if int(request.headers.get("Content-Length") or 0) > BODY_BYTES:
        raise PayloadTooLargeError("The body is larger than 10 MiB; send fewer events at once.")
    body = request.body
    if request.headers.get("Content-Encoding", "").lower() == "gzip":
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            body = inflater.decompress(body, BODY_BYTES)
        except zlib.error:
            raise InvalidError("The body is not valid gzip.") from None
        if inflater.unconsumed_tail or not inflater.eof:
            raise PayloadTooLargeError("The unpacked body is incomplete or larger than 10 MiB.")
    return body


def _decode(body: bytes) -> Any:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"The body is not valid JSON: {error}") from None


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


def _json(body: dict[str, Any], status: int) -> HttpResponse:
    return HttpResponse(_encoder.encode(body), status=status, content_type="application/json")
