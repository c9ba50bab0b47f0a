"""ClickHouse as the store: a relay copies events into it, and what it does not have yet is read from PostgreSQL.

An answer is exact at every moment: events up to the relay's position come from ClickHouse, except those that were
changed since; all others come from PostgreSQL.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import local
from typing import Any, ClassVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from django.conf import settings
from django.db import connection, transaction

from apps.metering.eventstore.base import COLUMNS, Span, StoreUnavailableError

logger = logging.getLogger(__name__)

TABLE = "metering_event"
# As the relay selects them.
STORED = (
    "id, public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_us,"
    " occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes, version"
)
# Thirty days: a partition of its own for about each month, in numbers that have no last year.
PARTITION_MICROSECONDS = 30 * 24 * 3600 * 1_000_000
# One row per event: of several versions the newest wins, when parts merge and, by FINAL, when they are read.
CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    id Int64,
    public_id String,
    organization_id Int64,
    idempotency_key String,
    event_type LowCardinality(String),
    source LowCardinality(String),
    subject_id Int64,
    external_id String,
    occurred_us Int64 CODEC(Delta, ZSTD),
    occurred_at String CODEC(ZSTD),
    accepted_at String CODEC(ZSTD),
    data String CODEC(ZSTD(3)),
    metrics Array(Int64),
    dimensions Array(Nullable(Int64)),
    quantities Array(Decimal(38, 9)),
    hashes String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY intDiv(occurred_us, {PARTITION_MICROSECONDS})
ORDER BY (organization_id, subject_id, occurred_us, id)
"""
# Text that PostgreSQL's COPY reads: arrays in its own form, moments as they were.
READ = """
    id, public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
    accepted_at, data,
    concat('{', arrayStringConcat(arrayMap(m -> toString(m), metrics), ','), '}'),
    concat('{', arrayStringConcat(arrayMap(d -> ifNull(toString(d), 'NULL'), dimensions), ','), '}'),
    concat('{', arrayStringConcat(arrayMap(q -> toString(q), quantities), ','), '}'),
    if(hashes = '', NULL, hashes)
"""
# More events than this in the spans of one question, and it is better asked by the hour.
MOST_EVENTS = 2_000_000
# Corrections that the relay has not carried over yet and a question has to leave out by name.
MOST_CHANGED = 5_000
# A statement of ClickHouse's has a largest length.
SPANS_AT_ONCE = 200
TIMEOUT_SECONDS = 30

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class _Horizon:
    """What to read where: ClickHouse up to `position` without `changed`, PostgreSQL the rest."""

    position: int
    changed: list[int]


class ClickHouseStore:
    CODE: ClassVar[str] = "clickhouse"

    def __init__(self) -> None:
        self._mine = local()

    @property
    def is_relayed(self) -> bool:
        return True

    def events_in(self, spans: Iterable[Span]) -> AbstractContextManager[str]:
        wanted = list(spans)
        return self._fetched(wanted) if wanted else nullcontext(TABLE)

    @contextmanager
    def _fetched(self, spans: Sequence[Span]) -> Iterator[str]:
        table = f"metering_fetched_{next(_numbers)}"
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS SELECT {COLUMNS} FROM metering_event WHERE false"
            )
            for start in range(0, len(spans), SPANS_AT_ONCE):
                rows = self._rows(spans[start : start + SPANS_AT_ONCE])
                with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({COLUMNS}) FROM STDIN") as copy:
                    copy.write(rows)
            yield table

    def _rows(self, spans: Sequence[Span]) -> bytes:
        """Give the events of spans as rows of COPY, those of each store once."""
        horizon = _horizon(spans)
        where, values = _where(spans)
        statement = (
            f"COPY (SELECT {COLUMNS} FROM metering_event WHERE ({where}) AND (id > %s OR id = ANY (%s))) TO STDOUT"
        )
        with (
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(statement, [*values, horizon.position, horizon.changed]) as copy,
        ):
            own = b"".join(bytes(block) for block in copy)
        rows = self._read(spans, horizon)
        if rows.count(b"\n") > MOST_EVENTS:
            raise StoreUnavailableError("Too many events for one answer; ask for whole hours or for less time.")
        return own + rows

    def prepare(self) -> None:
        self._ask(lambda client: client.command(CREATE))

    def write(self, rows: bytes) -> None:
        columns = [name.strip() for name in STORED.split(",")]
        # Old events may belong to many partitions at once.
        chosen = {"max_partitions_per_insert_block": 0}
        self._ask(
            lambda client: client.raw_insert(
                TABLE, column_names=columns, insert_block=rows, fmt="TabSeparated", settings=chosen
            )
        )

    def _read(self, spans: Sequence[Span], horizon: _Horizon) -> bytes:
        where, values = _clickhouse_where(spans, horizon)
        statement = f"SELECT {READ} FROM {TABLE} FINAL WHERE {where} LIMIT {MOST_EVENTS + 1}"
        found: bytes = self._ask(lambda client: client.raw_query(statement, parameters=values, fmt="TabSeparated"))
        return found

    def _ask(self, work: Any) -> Any:
        try:
            return work(self._client())
        except (ClickHouseError, OSError) as error:
            self._mine.client = None
            logger.warning("the event store failed: %s", error)
            raise StoreUnavailableError(
                "Raw events cannot be read right now; try again, or ask for whole hours.", retry_after_seconds=2
            ) from error

    def _client(self) -> Client:
        """Give this thread's client: one must not be used by two at a time."""
        client: Client | None = getattr(self._mine, "client", None)
        if client is None:
            url: str = settings.EVENT_STORE_URL
            scheme, _, rest = url.partition("://")
            client = self._mine.client = clickhouse_connect.get_client(
                dsn=f"clickhouse://{rest}",
                secure=scheme == "clickhouses",
                connect_timeout=5,
                send_receive_timeout=TIMEOUT_SECONDS,
                autogenerate_session_id=False,
                compress=False,
            )
        return client


def _horizon(spans: Sequence[Span]) -> _Horizon:
    """Give how far the relay is, and which events in the spans were changed and not carried over yet."""
    where, values = _where(spans)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT coalesce((SELECT position FROM metering_storeposition WHERE store = %s), 0),
                   ARRAY(SELECT DISTINCT id FROM metering_storechange WHERE {where} LIMIT {MOST_CHANGED + 1})
            """,
            [ClickHouseStore.CODE, *values],
        )
        position, changed = cursor.fetchone()
    if len(changed) > MOST_CHANGED:
        raise StoreUnavailableError("Raw events are being corrected; try again shortly.", retry_after_seconds=5)
    return _Horizon(position, changed)


def _where(spans: Sequence[Span]) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for span in spans:
        clause = "organization_id = %s AND occurred_at >= %s AND occurred_at < %s"
        values += [span.organization_id, span.start, span.end]
        if span.subjects is not None:
            clause += " AND subject_id = ANY (%s)"
            values.append(list(span.subjects))
        if span.event_types is not None:
            clause += " AND event_type = ANY (%s)"
            values.append(list(span.event_types))
        clauses.append(f"({clause})")
    return " OR ".join(clauses), values


def _clickhouse_where(spans: Sequence[Span], horizon: _Horizon) -> tuple[str, dict[str, Any]]:
    """Give the same condition for ClickHouse: numbers stand in the statement, text goes beside it."""
    clauses: list[str] = []
    values: dict[str, Any] = {}
    for n, span in enumerate(spans):
        clause = (
            f"organization_id = {span.organization_id:d}"
            f" AND occurred_us >= {_microseconds(span.start)} AND occurred_us < {_microseconds(span.end)}"
        )
        if span.subjects is not None:
            clause += f" AND has([{', '.join(f'{subject:d}' for subject in span.subjects)}], subject_id)"
        if span.event_types is not None:
            names = [f"t{n}_{position}" for position in range(len(span.event_types))]
            clause += f" AND has([{', '.join(f'{{{name}:String}}' for name in names)}], event_type)"
            values |= zip(names, span.event_types, strict=True)
        clauses.append(f"({clause})")
    where = f"({' OR '.join(clauses)}) AND id <= {horizon.position:d}"
    if horizon.changed:
        where += f" AND id NOT IN ({', '.join(f'{key:d}' for key in horizon.changed)})"
    return where, values


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
