"""What happens around every API call: who is it, was it made before, and whose change is it."""

from collections.abc import Callable
from typing import Any

import pghistory
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError, FieldError, InvalidError, UnauthenticatedError
from apps.kernel.http.authentication import bearer_of
from apps.kernel.http.exceptions import json_error
from apps.kernel.http.principal import Principal
from apps.organizations.selectors.principals import find_principal
from apps.organizations.services.idempotency import (
    StoredAnswer,
    claim_key,
    release_claim,
    request_hash,
    store_answer,
)
from apps.organizations.services.keys import note_use

Handler = Callable[[HttpRequest], HttpResponse]

API_ROOTS = ("/v0/", "/v1/", "/v2/")
# Meter events carry their own keys and must not pay for two more queries; manual lines answer a repeat by their
# own rule (200, not the first answer's 201).
OWN_KEYS = ("/v0/events", "/v2/invoices/lineItems")
TOO_MANY = 429


class ApiKeyMiddleware:
    """Turn the Bearer key of an API call into `request.principal`, or answer 401."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(API_ROOTS):
            return self.get_response(request)
        secret = bearer_of(request.headers)
        principal: Principal | None = None
        if secret is not None:
            now = wall_now()
            principal = find_principal(secret=secret, as_of=now)
            if principal is None:
                return json_error(
                    UnauthenticatedError("This API key is unknown, revoked or expired; make a new one.")
                )
            note_use(key_id=principal.key_id, as_of=now)
        request.principal = principal  # type: ignore[attr-defined]
        return self.get_response(request)


class IdempotencyMiddleware:
    """Answer a repeated POST with the first call's answer when it carries an Idempotency-Key."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        key = request.headers.get("Idempotency-Key")
        principal: Principal | None = getattr(request, "principal", None)
        if key is None or principal is None or request.method != "POST" or request.path.startswith(OWN_KEYS):
            return self.get_response(request)
        try:
            return self._once(request, principal.organization_id, key)
        except DomainError as error:
            return json_error(error)

    def _once(self, request: HttpRequest, organization_id: int, key: str) -> HttpResponse:
        if not 0 < len(key) <= 255 or "\x00" in key:
            raise InvalidError(
                "The Idempotency-Key must have 1 to 255 characters.",
                errors=[FieldError("Idempotency-Key", "Use 1 to 255 characters.", "invalid")],
            )
        digest = request_hash(method="POST", path=request.get_full_path(), body=request.body)
        claimed = claim_key(
            organization_id=organization_id,
            key=key,
            method="POST",
            path=request.path[:500],
            digest=digest,
            as_of=wall_now(),
        )
        if isinstance(claimed, StoredAnswer):
            return HttpResponse(
                claimed.body,
                status=claimed.status,
                content_type=claimed.content_type,
                headers={"Idempotency-Replayed": "true"},
            )
        try:
            return self._answer(request, claimed)
        except BaseException:
            release_claim(claim=claimed)
            raise

    def _answer(self, request: HttpRequest, claim: int) -> HttpResponse:
        """Do the call and keep its answer in one transaction: a process that dies leaves both or neither."""
        with transaction.atomic():
            response = self.get_response(request)
            if hasattr(response, "render") and not getattr(response, "is_rendered", True):
                response.render()
            if response.status_code < 400 and not response.streaming:
                store_answer(claim=claim, answer=_stored(response))
            else:
                transaction.set_rollback(True)
        # Who was told to wait is meant to send the same again: kept, the refusal would hold for a day.
        if response.status_code >= 500 or response.status_code == TOO_MANY or response.streaming:
            release_claim(claim=claim)
        elif response.status_code >= 400:
            store_answer(claim=claim, answer=_stored(response))
        return response


def _stored(response: HttpResponse) -> StoredAnswer:
    return StoredAnswer(response.status_code, response.content, response.get("Content-Type", "application/json"))


class HistoryContextMiddleware:
    """Write who and which request into the history of every change a request makes."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in {"GET", "HEAD", "OPTIONS"} or request.path.startswith("/v0/events"):
            return self.get_response(request)
        with pghistory.context(**self._who(request), url=request.path):
            return self.get_response(request)

    @staticmethod
    def _who(request: HttpRequest) -> dict[str, Any]:
        principal: Principal | None = getattr(request, "principal", None)
        if principal is not None:
            return {"user": principal.user_id, "api_key": principal.key_id}
        user = getattr(request, "user", None)
        return {"user": user.pk} if user is not None and user.is_authenticated else {}
