"""What became of the events of a key, whenever it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection

from apps.metering.domain.keys import key_hash


class KeyState(StrEnum):
    """Where the event of a key stands; the order is that of precedence, the first that fits is the verdict."""

    VOIDED = "voided"
    CONFLICT = "conflict"
    COUNTED = "counted"
    STAGED = "staged"
    DEAD_LETTER = "dead_letter"
    PARKED = "parked"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """The verdict on one key.

    Attributes:
        event_id: the event that stands under the key; empty when none is known.
        accepted_at: when it was accepted.
        decided_at: when it was voided, its key met other content (the last time), or it was set aside.
        conflicts: how often the key came with other content.
        reason: why it does not count, or why not everything that came under the key does.
    """

    idempotency_key: str
    state: KeyState
    event_id: str = ""
    accepted_at: datetime | None = None
    decided_at: datetime | None = None
    conflicts: int = 0
    reason: str = ""


# The first event of each key that waits to be merged.
STAGED = """
SELECT DISTINCT ON (key_hash) key_hash::text, public_id, accepted_at FROM metering_stagedevent
WHERE organization_id = %s AND key_hash = ANY(%s::uuid[]) ORDER BY key_hash, id
"""
COUNTED = """
SELECT k.key_hash::text, k.public_id, k.accepted_at, v.voided_at, v.reason
FROM metering_key AS k
LEFT JOIN metering_eventvoid AS v ON v.organization_id = k.organization_id AND v.event_id = k.public_id
WHERE k.organization_id = %s AND k.key_hash = ANY(%s::uuid[])
"""
CONFLICTS = """
SELECT idempotency_key, count(*), max(detected_at) FROM metering_eventconflict
WHERE organization_id = %s AND idempotency_key = ANY(%s) GROUP BY idempotency_key
"""
LETTERS = """
SELECT DISTINCT ON (payload ->> 'idempotencyKey')
       payload ->> 'idempotencyKey', payload ->> 'id', (payload ->> 'acceptedAt')::timestamptz, created_at, message
FROM metering_deadletter
WHERE organization_id = %s AND stage = 'merge' AND payload ->> 'idempotencyKey' = ANY(%s) AND resolved_at IS NULL
ORDER BY payload ->> 'idempotencyKey', id DESC
"""
# Of several events under one key the one that may still count comes first.
PARKED = """
SELECT DISTINCT ON (key_hash)
       key_hash::text, public_id, accepted_at, state, settled_at, CASE state WHEN 'parked' THEN reason ELSE note END
FROM metering_parkedevent
WHERE organization_id = %s AND key_hash = ANY(%s::uuid[]) AND state IN ('parked', 'discarded')
ORDER BY key_hash, state DESC, id
"""


def verdicts_on(*, organization_id: int, keys: Sequence[str]) -> list[KeyVerdict]:
    """Give the verdict on each key; n keys in, n verdicts out, same order.

    The places are read in the order in which an event travels, so one that moves on meanwhile is found further on.
    A further place where events wait is one more of these reads and one more state.
    """
    hashes = {key_hash(organization_id, key): key for key in keys}
    parked = {hashes[row[0].replace("-", "")]: row for row in _rows(PARKED, organization_id, list(hashes))}
    staged = {hashes[row[0].replace("-", "")]: row for row in _rows(STAGED, organization_id, list(hashes))}
    letters = {row[0]: row for row in _rows(LETTERS, organization_id, list(keys))}
    counted = {hashes[row[0].replace("-", "")]: row for row in _rows(COUNTED, organization_id, list(hashes))}
    conflicts = {row[0]: row for row in _rows(CONFLICTS, organization_id, list(keys))}

    def verdict(key: str) -> KeyVerdict:
        if key in counted:
            return _of_counted(key, counted[key], conflicts.get(key))
        if key in staged:
            _, event_id, accepted_at = staged[key]
            return KeyVerdict(key, KeyState.STAGED, event_id, accepted_at)
        if key in letters:
            _, event_id, accepted_at, set_aside_at, message = letters[key]
            return KeyVerdict(
                key, KeyState.DEAD_LETTER, event_id, accepted_at, decided_at=set_aside_at, reason=message
            )
        if key in parked:
            _, event_id, accepted_at, state, settled_at, reason = parked[key]
            return KeyVerdict(key, KeyState(state), event_id, accepted_at, decided_at=settled_at, reason=reason)
        return KeyVerdict(key, KeyState.UNKNOWN)

    return [verdict(key) for key in keys]


def _of_counted(key: str, row: tuple[Any, ...], conflict: tuple[Any, ...] | None) -> KeyVerdict:
    _, event_id, accepted_at, voided_at, reason = row
    times = 0 if conflict is None else conflict[1]
    if voided_at is not None:
        return KeyVerdict(key, KeyState.VOIDED, event_id, accepted_at, voided_at, times, reason)
    if conflict is not None:
        text = "The key came again with other content; the first content counts."
        return KeyVerdict(key, KeyState.CONFLICT, event_id, accepted_at, conflict[2], times, text)
    return KeyVerdict(key, KeyState.COUNTED, event_id, accepted_at)


def _rows(sql: str, organization_id: int, names: list[str]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [organization_id, names])
        return list(cursor.fetchall())
