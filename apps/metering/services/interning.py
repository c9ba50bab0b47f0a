"""Subjects and group values become small numbers, made once and remembered per process."""

import json
import threading
import uuid
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from django.db import connection, transaction

from apps.kernel.database import database_name

CACHE_ENTRIES = 500_000

SubjectName = tuple[int, bool, str]  # organization, is_external, value
# organization, metric, names of the dimensions, their values
DimensionName = tuple[int, int, tuple[str, ...], tuple[str, ...]]

# By database, because tests and replicas of one process may see several.
_subjects: dict[str, dict[SubjectName, int]] = {}
_dimensions: dict[str, dict[DimensionName, int]] = {}
_lock = threading.Lock()


def digest_of(*parts: str) -> uuid.UUID:
    """Give the 128-bit hash of some text; the parts cannot run into each other."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        raw = part.encode()
        hashed.update(len(raw).to_bytes(4, "big"))
        hashed.update(raw)
    return uuid.UUID(bytes=hashed.digest())


def intern_subjects(names: Iterable[SubjectName]) -> dict[SubjectName, int]:
    """Give the number of each subject, making those that are new."""
    ordered = list(dict.fromkeys(names))
    return dict(zip(ordered, subject_numbers(ordered), strict=True))


def subject_numbers(names: Sequence[SubjectName]) -> list[int]:
    """Give the number of each subject, making those that are new; n names in, n numbers out, same order."""
    known = _remembered(_subjects)
    # Numbers begin at 1.
    numbers = [known.get(name, 0) for name in names]
    if 0 in numbers:
        missing = {name for name, number in zip(names, numbers, strict=True) if not number}
        made = _intern(missing, _subjects, _INSERT_SUBJECTS, lambda name: (name[0], name[1], name[2]))
        return [number or made[name] for name, number in zip(names, numbers, strict=True)]
    return numbers


def intern_dimensions(names: Iterable[DimensionName]) -> dict[DimensionName, int]:
    """Give the number of each combination of group values, making those that are new."""
    return _intern(
        set(names),
        _dimensions,
        _INSERT_DIMENSIONS,
        _dimension_row,
    )


def _dimension_row(name: DimensionName) -> tuple[int, int, uuid.UUID, str]:
    organization_id, metric_id, names, values = name
    text = json.dumps(dict(zip(names, values, strict=True)), separators=(",", ":"), ensure_ascii=False)
    return organization_id, metric_id, digest_of(text), text


def _remembered(cache: dict[str, dict[Any, int]]) -> dict[Any, int]:
    return cache.setdefault(database_name(), {})


def _intern(wanted: set[Any], cache: dict[str, dict[Any, int]], sql: str, row: Any) -> dict[Any, int]:
    database = database_name()
    remembered = _remembered(cache)
    known = {name: number for name in wanted if (number := remembered.get(name)) is not None}
    # One order for everybody: concurrent inserts of the same names cannot deadlock.
    missing = sorted(wanted - known.keys())
    if not missing:
        return known
    columns = list(zip(*(row(name) for name in missing), strict=True))
    found: dict[Any, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(sql, [list(column) for column in columns])
        for position, key in cursor.fetchall():
            found[missing[position - 1]] = key

    def remember() -> None:
        with _lock:
            if len(cache.get(database, ())) > CACHE_ENTRIES:
                # Not emptied in place: another thread may be reading it.
                cache[database] = {}
            cache.setdefault(database, {}).update(found)

    # A number that a rollback takes back must never be remembered: rows would point to nothing.
    transaction.on_commit(remember)
    return known | found


def forget_interned() -> None:
    """Drop what this process remembers, as when a test's database is emptied."""
    with _lock:
        _subjects.clear()
        _dimensions.clear()


# The reading half sees what other transactions committed meanwhile, because each half takes its own snapshot row by
# row only for the insert; DO UPDATE makes the conflicting row visible at once.
_INSERT_SUBJECTS = """
WITH wanted AS (
    SELECT o, e, v, n FROM unnest(%s::bigint[], %s::boolean[], %s::text[]) WITH ORDINALITY AS t(o, e, v, n)
), made AS (
    INSERT INTO metering_subject (organization_id, is_external, value, created_at)
    SELECT o, e, v, now() FROM wanted ORDER BY o, e, v
    ON CONFLICT (organization_id, is_external, value) DO UPDATE SET value = excluded.value
    RETURNING id, organization_id, is_external, value
)
SELECT wanted.n, made.id FROM wanted
JOIN made ON (made.organization_id, made.is_external, made.value) = (wanted.o, wanted.e, wanted.v)
"""

_INSERT_DIMENSIONS = """
WITH wanted AS (
    SELECT o, m, d, v, n
    FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::text[]) WITH ORDINALITY AS t(o, m, d, v, n)
), made AS (
    INSERT INTO metering_dimension (organization_id, metric_id, digest, values)
    SELECT o, m, d, v::jsonb FROM wanted ORDER BY m, d
    ON CONFLICT (metric_id, digest) DO UPDATE SET values = excluded.values
    RETURNING id, metric_id, digest
)
SELECT wanted.n, made.id FROM wanted JOIN made ON (made.metric_id, made.digest) = (wanted.m, wanted.d)
"""
