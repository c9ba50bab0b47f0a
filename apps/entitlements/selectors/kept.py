"""States of rights that a process keeps, so that a check reads only what was used since.

A kept state is a cache and nothing else. It is usable only while the read that uses it sees, in the same snapshot of
the database, that nothing it was made of has changed (`standings`): the right, its grants, resets and prices by the
revision that triggers count, usage before it by the marks that triggers leave on hours long over, and the customer's
names by themselves.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.entitlements.domain.access import is_in_force
from apps.entitlements.domain.engine import State, cut_points
from apps.entitlements.domain.grants import ZERO, Grant
from apps.entitlements.domain.resets import Reset, Schedule
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.histories import ADDITIVE, History
from apps.kernel.time import floor_hour
from apps.metering.eventstore import event_store
from apps.metering.selectors.links import SubjectSpan

HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# A change of usage leaves its mark on hours that began three hours before the change or earlier. The hours before a
# kept state are older by three more, so that a change without a mark would be of a transaction that took as long.
KEPT_AFTER = 5 * HOUR
# Later, so much is read beside a kept state that another one is made.
KEPT_FOR = 4 * HOUR
# Rights and grants that a process remembers; some kilobytes each.
ROOM = 20_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What the database showed before anything else was read.

    Attributes:
        snapshot: which transactions were done.
        low: the oldest that was not.
        now: by the database's clock.
        is_writing: whether the reader's own transaction had written; what that shows may be undone.
    """

    snapshot: str
    low: str
    now: datetime
    is_writing: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A right as it was at an instant, and what of it changes by itself afterwards.

    Attributes:
        seen: before it was made.
        state: what was left; None where nothing is counted.
        balance: of the state, added up once.
        until: when another one should be made.
        schedule: when it resets; None where nothing is counted.
        grants, resets, cuts: what happens after the instant.
        begins: when grants begin and their units, where nothing else happens; then only sums matter, unless usage was
            taken back. None where the order matters.
        metrics: what is counted, and whether by number rather than by value.
        parts: what to read of each metric and subject that is the same at every moment; empty where edges of subjects
            or of the state lie within hours.
        names: the customer's subjects as text, to compare.
        ahead_seconds: how far ahead senders' clocks may be.
    """

    entitlement: Entitlement
    seen: Seen
    until: datetime
    state: State | None = None
    balance: Decimal = ZERO
    grants: Sequence[Grant] = ()
    schedule: Schedule | None = None
    resets: Sequence[Reset] = ()
    cuts: Sequence[datetime] = ()
    begins: Sequence[tuple[datetime, Decimal]] | None = None
    metrics: Sequence[tuple[int, bool]] = ()
    subjects: Sequence[SubjectSpan] = ()
    parts: Sequence[Mapping[str, Any]] = ()
    names: str = ""
    ahead_seconds: int = 0

    def holds_at(self, at: datetime) -> bool:
        """Whether the right is in force at a moment that the state can be carried to; never one before it."""
        row = self.entitlement
        if not is_in_force(active_from=row.active_from, active_to=row.active_to, at=at):
            return False
        return (self.state is None or self.state.at <= at) and at < self.until


def keeping_at(seen: Seen, at: datetime) -> datetime:
    """Give the instant whose state should be kept for a present."""
    return floor_hour(min(seen.now, at)) - KEPT_AFTER


def find_keepable(history: History, seen: Seen) -> Kept | None:
    """Give what can be kept of a history on the wall clock; None where nothing could tell later whether it holds."""
    row = history.entitlement
    # What a transaction of its own has written may never be.
    if seen.is_writing:
        return None
    if not row.is_metered:
        return Kept(row, seen, history.at + KEPT_FOR)
    kept = history.kept
    metrics = [(meter.metric_id, meter.metric.aggregation) for meter in history.meters]
    if kept is None or event_store().is_relayed or any(kind not in ADDITIVE for _, kind in metrics):
        return None
    until = history.at + KEPT_FOR
    resets = history.schedule.between(kept.at, until)
    counted = [(metric, kind == "COUNT") for metric, kind in metrics]
    grants = [grant for grant in history.grants if grant.ends_at is None or grant.ends_at > kept.at]
    return Kept(
        entitlement=row,
        seen=seen,
        until=until,
        state=kept,
        balance=kept.balance,
        grants=grants,
        schedule=history.schedule,
        resets=resets,
        cuts=[cut for cut in cut_points(history.grants, resets, start=kept.at, until=until) if kept.at < cut < until],
        begins=None if resets else _begins(grants, kept.at, until),
        metrics=counted,
        subjects=history.subjects,
        parts=_whole_parts(kept.at, counted, history.subjects, seen),
        names=names_of(history.subjects),
        ahead_seconds=row.organization.event_seconds_ahead,
    )


def _begins(grants: Sequence[Grant], start: datetime, until: datetime) -> list[tuple[datetime, Decimal]] | None:
    """Give the grants that begin between two instants; None where others end or are filled up."""
    if any(grant.recurrence is not None or (grant.ends_at or until) < until for grant in grants):
        return None
    return [(grant.effective_at, grant.begins_with) for grant in grants if start < grant.effective_at < until]


def _whole_parts(
    start: datetime, metrics: Sequence[tuple[int, bool]], subjects: Sequence[SubjectSpan], seen: Seen
) -> list[Mapping[str, Any]]:
    if start != floor_hour(start) or any(span.end or (span.start or start) > start for span in subjects):
        return []
    return [
        {
            "low": seen.low,
            "seen": seen.snapshot,
            "m": metric,
            "s": span.subject,
            "c": is_number,
            "kept": start,
            "a": start,
        }
        for metric, is_number in metrics
        for span in subjects
    ]


def names_of(subjects: Sequence[SubjectSpan]) -> str:
    """Write subjects as `standings` reads them."""
    return ",".join(f"{span.subject}/{_micros(span.start)}/{_micros(span.end)}" for span in subjects)


def _micros(instant: datetime | None) -> str:
    return "-" if instant is None else str((instant - EPOCH) // MICROSECOND)


class Memory:
    """Kept states by the question they answer; when there are too many, all are forgotten."""

    def __init__(self) -> None:
        self._by_question: dict[tuple[str, int, Asked], Kept] = {}
        self._lock = threading.Lock()
        self._size = 0

    def find(self, database: str, organization_id: int, asked: Asked) -> Kept | None:
        return self._by_question.get((database, organization_id, asked))

    def keep(self, database: str, organization_id: int, asked: Asked, kept: Kept) -> None:
        with self._lock:
            if self._size >= ROOM:
                self._by_question.clear()
                self._size = 0
            known = self._by_question.pop((database, organization_id, asked), None)
            self._by_question[database, organization_id, asked] = kept
            self._size += len(kept.grants) - len(known.grants) if known is not None else 1 + len(kept.grants)

    def forget(self, database: str, organization_id: int, asked: Asked) -> None:
        with self._lock:
            kept = self._by_question.pop((database, organization_id, asked), None)
            if kept is not None:
                self._size -= 1 + len(kept.grants)

    def clear(self) -> None:
        with self._lock:
            self._by_question.clear()
            self._size = 0


memory = Memory()
