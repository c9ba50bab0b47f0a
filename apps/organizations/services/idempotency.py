"""Idempotency keys of public writes: the first answer is kept for a day and replayed."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from apps.kernel.errors import ConflictError, UnprocessableError
from apps.organizations.models import IdempotencyRecord

KEPT = timedelta(hours=24)
# A first call that has not answered by then died with its process; its key may be tried again.
ABANDONED = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer to replay."""

    status: int
    body: bytes
    content_type: str


def request_hash(*, method: str, path: str, body: bytes) -> bytes:
    """Give 32 bytes that tell one request from another."""
    return hashlib.sha256(b"\x00".join([method.encode(), path.encode(), body])).digest()


def claim_key(
    *, organization_id: int, key: str, method: str, path: str, digest: bytes, as_of: datetime
) -> int | StoredAnswer:
    """Claim a key for its first call, or give the stored answer of that first call.

    Returns:
        The claim's number for `store_answer` and `release_claim`, or the answer.

    Raises:
        UnprocessableError: the key was used with another request.
        ConflictError: the first call is still running.
    """
    IdempotencyRecord.objects.filter(organization_id=organization_id, key=key, created_at__lt=as_of - KEPT).delete()
    IdempotencyRecord.objects.filter(
        organization_id=organization_id, key=key, response_status=None, created_at__lt=as_of - ABANDONED
    ).delete()
    try:
        with transaction.atomic():
            claim = IdempotencyRecord.objects.create(
                organization_id=organization_id,
                key=key,
                method=method,
                path=path,
                request_hash=digest,
                created_at=as_of,
            )
    except IntegrityError:
        pass
    else:
        return int(claim.pk)
    record = IdempotencyRecord.objects.get(organization_id=organization_id, key=key)
    if bytes(record.request_hash) != digest:
        raise UnprocessableError(
            "This Idempotency-Key was used with another request; use a new key.",
            code="IDEMPOTENCY_KEY_REUSED",
        )
    if record.response_status is None:
        raise ConflictError(
            "The first call with this Idempotency-Key is still running; try again shortly.",
            code="IDEMPOTENCY_KEY_IN_USE",
        )
    return StoredAnswer(record.response_status, bytes(record.response_body), record.response_type)


def store_answer(*, claim: int, answer: StoredAnswer) -> None:
    """Keep the first call's answer, in the transaction that does its work.

    Raises:
        ConflictError: the call took so long that another one took its key over.
    """
    kept = IdempotencyRecord.objects.filter(pk=claim, response_status=None).update(
        response_status=answer.status, response_body=answer.body, response_type=answer.content_type
    )
    if not kept:
        raise ConflictError(
            "The call took too long and another one has taken its Idempotency-Key over.",
            code="IDEMPOTENCY_KEY_IN_USE",
        )


def release_claim(*, claim: int) -> None:
    """Give a claimed key back, so that the call can be made again (it did nothing)."""
    IdempotencyRecord.objects.filter(pk=claim, response_status=None).delete()


def delete_old_records(*, as_of: datetime, limit: int = 10_000) -> int:
    """Delete records past their day, a bounded number at a time."""
    old = IdempotencyRecord.objects.filter(created_at__lt=as_of - KEPT).values("pk")[:limit]
    return IdempotencyRecord.objects.filter(pk__in=old).delete()[0]
