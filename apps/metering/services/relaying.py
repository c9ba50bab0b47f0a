"""From PostgreSQL to the event store, after the commit: every event at least once, every change after it."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from apps.metering.eventstore import EventStore

BATCH = 50_000

# As text that PostgreSQL and ClickHouse write and read alike; the version decides which copy of an event is the last.
SELECT = """
SELECT e.id, e.public_id, e.organization_id, e.idempotency_key, e.event_type, e.source, e.subject_id, e.external_id,
       (extract(epoch FROM e.occurred_at) * 1000000)::bigint,
       to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US+00:00'),
       to_char(e.accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US+00:00'),
       e.data::text,
       '[' || array_to_string(e.metrics, ',') || ']',
       '[' || array_to_string(e.dimensions, ',', 'NULL') || ']',
       '[' || array_to_string(e.quantities, ',') || ']',
       coalesce(e.hashes::text, ''),
"""


@dataclass(frozen=True, slots=True)
class Relayed:
    """What a round carried over."""

    events: int = 0
    changes: int = 0


def start_relay(*, store: EventStore) -> None:
    """Make the store's tables, and note that it is fed from here on; twice is fine."""
    store.prepare()
    with connection.cursor() as cursor:
        # From the first event on that is still there: those that are stored already are carried over as well.
        cursor.execute(
            "INSERT INTO metering_storeposition (store, position, holds_from)"
            " SELECT %s, 0, (SELECT raw_gone_until FROM metering_retention) ON CONFLICT DO NOTHING",
            [store.CODE],
        )


def relay_events(*, store: EventStore, limit: int = BATCH) -> Relayed:
    """Carry up to `limit` new events, and up to as many changed ones, to the store.

    Positions move only after the store has the rows, and the store takes rows again without harm: a crash at any
    point, or two relays at once, repeat work and change nothing.
    """
    return Relayed(events=_relay_new(store, limit), changes=_relay_changed(store, limit))


def has_carried(*, store: EventStore, partition: str, start: datetime, end: datetime) -> bool:
    """Tell whether the store has all events of a partition as they are now; nobody may add to it meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT coalesce((SELECT max(id) FROM {partition}), 0)
                       <= coalesce((SELECT position FROM metering_storeposition WHERE store = %s), 0)
                   AND NOT EXISTS (SELECT FROM metering_storechange WHERE occurred_at >= %s AND occurred_at < %s)
            """,
            [store.CODE, start, end],
        )
        return bool(cursor.fetchone()[0])


def _relay_new(store: EventStore, limit: int) -> int:
    position, last = _safe(store)
    until = min(last, position + limit)
    if until <= position:
        return 0
    rows = _copy(f"{SELECT} 0 FROM metering_event AS e WHERE e.id > {position} AND e.id <= {until}")
    if rows:
        store.write(rows)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE metering_storeposition SET position = %s WHERE store = %s AND position < %s",
            [until, store.CODE, until],
        )
    return until - position


def _safe(store: EventStore) -> tuple[int, int]:
    """Give the position and the number up to which no event can appear any more.

    Numbers do not follow the order of commits. So a number is noted together with the transactions that run at that
    moment, and is safe when these have ended: whoever stores events holds a transaction id before it numbers them.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT position, candidate, candidate_until <= pg_snapshot_xmin(pg_current_snapshot())
            FROM metering_storeposition WHERE store = %s FOR UPDATE
            """,
            [store.CODE],
        )
        found = cursor.fetchone()
        if found is None:
            return 0, 0
        position, candidate, is_safe = found
        if candidate is None or (is_safe and candidate <= position):
            cursor.execute("SELECT coalesce(pg_sequence_last_value('metering_event_id_seq'), 0)")
            last = int(cursor.fetchone()[0])
            if last > position:
                # A statement of its own: its snapshot is younger than the number.
                cursor.execute(
                    """
                    UPDATE metering_storeposition
                    SET candidate = %s, candidate_until = pg_snapshot_xmax(pg_current_snapshot()) WHERE store = %s
                    """,
                    [last, store.CODE],
                )
            return position, position
        return position, candidate if is_safe else position


def _relay_changed(store: EventStore, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq, id FROM metering_storechange ORDER BY seq LIMIT %s", [limit])
        pending: list[tuple[int, int]] = cursor.fetchall()
    if not pending:
        return 0
    versions = {key: seq for seq, key in pending}
    pairs = ",".join(f"({key},{seq})" for key, seq in versions.items())
    rows = _copy(
        f"{SELECT} changed.version FROM (VALUES {pairs}) AS changed (id, version) JOIN metering_event AS e USING (id)"
    )
    if rows:
        store.write(rows)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM metering_storechange WHERE seq = ANY (%s)", [[seq for seq, _ in pending]])
    return len(pending)


def _copy(sql: str) -> bytes:
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY ({sql}) TO STDOUT") as copy,
    ):
        return b"".join(bytes(block) for block in copy)
