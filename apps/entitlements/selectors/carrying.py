"""Kept states carried to the present by one statement, which also shows whether they still hold."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from apps.entitlements.domain.engine import run, total
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.domain.standing import spent
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.histories import ahead_until
from apps.entitlements.selectors.kept import HOUR, Kept
from apps.kernel.money import EXACT
from apps.kernel.prepared import Read
from apps.kernel.time import floor_hour
from apps.metering.domain.grid import edge_spans, whole_hours

# Everything that a kept state depends on, as it is in this statement's snapshot, and the usage since: a row for each
# part of it, which as a rule is one a right. Each table is read by an index for each part, whatever the planner
# believes of their number.
#
# `hours` is NULL of segments read as one (`w`) where some usage was taken back (is below zero): order matters then.
#
# `is_late` finds changes of hours before a state by transactions that were not done when it was made. Marks that no
# transaction of this server can have left come from a backup of another.
_READ = """
SELECT r.i, e.revision, customer.public_id, customer.external_id,
       (SELECT event_seconds_ahead FROM organizations_organization WHERE id = e.organization_id) AS ahead,
       CASE WHEN e.subscription_id IS NULL THEN EXISTS (
           SELECT FROM subscriptions_subscription AS live
           WHERE live.customer_id = e.customer_id AND live.test_clock_id IS NOT NULL AND live.status <> 'terminated'
       ) ELSE (
           SELECT test_clock_id IS NOT NULL FROM subscriptions_subscription WHERE id = e.subscription_id
       ) END AS is_simulated,
       (
           SELECT string_agg(concat_ws('/', subject, coalesce(since::text, '-'), coalesce(until::text, '-')), ','
                             ORDER BY subject, since NULLS FIRST)
           FROM (
               SELECT subject.id AS subject, NULL::bigint AS since, NULL::bigint AS until
               FROM metering_subject AS subject
               WHERE subject.organization_id = customer.organization_id AND NOT subject.is_external
                 AND subject.value = customer.public_id
               UNION ALL
               SELECT subject.id, (extract(epoch FROM lower(link.valid)) * 1000000)::bigint,
                      (extract(epoch FROM upper(link.valid)) * 1000000)::bigint
               FROM customers_externalidlink AS link
               JOIN metering_subject AS subject ON subject.organization_id = link.organization_id
                AND subject.is_external AND subject.value = link.external_id
               WHERE link.customer_id = customer.id
           ) AS named
       ) AS names,
       (
           SELECT sum(held.quantity) FROM entitlements_reservation AS held
           WHERE held.entitlement_id = e.id AND held.status = 'held' AND held.expires_at > %(at)s
       ) AS held,
       EXISTS (
           SELECT FROM metering_window AS w
           WHERE w.metric_id = r.m AND w.subject_id = r.s AND w.late_xid >= r.low AND w.hour < r.kept
             AND NOT pg_visible_in_snapshot(w.late_xid, r.seen)
             AND (w.late_xid < pg_snapshot_xmax(pg_current_snapshot())
                  OR w.late_xid = pg_current_xact_id_if_assigned())
       ) OR EXISTS (
           SELECT FROM metering_windowgone AS gone
           WHERE gone.metric_id = r.m AND gone.subject_id = r.s AND gone.late_xid >= r.low AND gone.hour < r.kept
             AND NOT pg_visible_in_snapshot(gone.late_xid, r.seen)
             AND (gone.late_xid < pg_snapshot_xmax(pg_current_snapshot())
                  OR gone.late_xid = pg_current_xact_id_if_assigned())
       ) AS is_late,
       (
           SELECT CASE WHEN r.c THEN coalesce(sum(count), 0)
                       WHEN r.w AND min(min) < 0 THEN NULL ELSE coalesce(sum(sum), 0) END
           FROM metering_window WHERE metric_id = r.m AND subject_id = r.s AND hour >= r.a AND hour < r.z
       ) AS hours,
       raw.one, raw.other
FROM jsonb_to_recordset(%(parts)s::jsonb)
    AS r(i int, e bigint, m bigint, s bigint, c boolean, w boolean, kept timestamptz, low xid8, seen pg_snapshot,
         a timestamptz, z timestamptz, since timestamptz, one timestamptz, other timestamptz)
CROSS JOIN LATERAL (
    SELECT id, revision, organization_id, customer_id, subscription_id
    FROM entitlements_entitlement WHERE id = r.e OFFSET 0
) AS e
CROSS JOIN LATERAL (
    SELECT id, organization_id, public_id, external_id FROM customers_customer WHERE id = e.customer_id OFFSET 0
) AS customer
CROSS JOIN LATERAL (
    SELECT sum(CASE WHEN r.c THEN 1 ELSE x.v END) FILTER (WHERE event.occurred_at < r.one) AS one,
           sum(CASE WHEN r.c THEN 1 ELSE x.v END) FILTER (WHERE event.occurred_at < r.other) AS other
    FROM metering_event AS event CROSS JOIN LATERAL unnest(event.metrics, event.quantities) AS x(m, v)
    WHERE event.subject_id = r.s AND event.occurred_at >= r.since
      AND event.occurred_at >= %(since)s AND event.occurred_at < %(before)s
      AND event.occurred_at < greatest(r.one, r.other)
      AND event.organization_id = e.organization_id AND x.m = r.m
) AS raw
"""
# The driver remembers how to send statements of less than 4,096 characters.
READ = re.sub(r"\s+", " ", _READ)


@dataclass(frozen=True, slots=True)
class Standing:
    """A right in force at the present of who holds it.

    Attributes:
        balance: units left, not less what reservations hold.
        overage: usage that nothing covered.
        held: units that running reservations hold.
    """

    entitlement: Entitlement
    at: datetime
    balance: Decimal = ZERO
    overage: Decimal = ZERO
    held: Decimal = ZERO


@dataclass(slots=True)
class Part:
    """What one row of the read is about.

    Attributes:
        number: of the kept state that it is for.
        segment: the segment that the windows' hours are of.
        is_last: whether the events are those dated at the moment or later: what the windows have of them, and what
            counts of them already. Else they are of the segment, too.
    """

    number: int
    segment: int
    is_last: bool


def carried(usable: Sequence[tuple[Asked, Kept]], at: datetime, *, read: Read) -> list[Standing | None]:
    """Carry kept states to a moment; n in, n out, same order. None for those that do not hold any more.

    Args:
        read: runs the statement, in the caller's transaction or by itself.
    """
    tallies = [Tally(kept, at) for _, kept in usable]
    _read(usable, tallies, at, read)
    again = [n for n, tally in enumerate(tallies) if tally.is_mixed]
    if again:
        for n in again:
            tallies[n] = Tally(usable[n][1], at, in_one=False)
        _read([usable[n] for n in again], [tallies[n] for n in again], at, read)
    return [tally.standing() for tally in tallies]


def _read(usable: Sequence[tuple[Asked, Kept]], tallies: Sequence["Tally"], at: datetime, read: Read) -> None:
    parts: list[Part] = []
    rows: list[dict[str, Any]] = []
    for number, tally in enumerate(tallies):
        for segment, is_last, row in tally.parts():
            rows.append({"i": len(parts), "e": tally.kept.entitlement.pk, **row})
            parts.append(Part(number, segment, is_last))
    values = {
        "parts": msgspec.json.encode(rows).decode(),
        "at": at,
        # Beside the parts, so that partitions of other months are not even opened.
        "since": min((row["since"] for row in rows if "since" in row), default=at),
        "before": max((row[end] for row in rows for end in ("one", "other") if end in row), default=at),
    }
    for i, *seen, held, is_late, hours, one, other in read(READ, values):
        part = parts[i]
        (asked, kept), tally = usable[part.number], tallies[part.number]
        tally.held = held or ZERO
        tally.is_seen = True
        if is_late or not _is_same(asked, kept, *seen):
            tally.is_stale = True
        tally.add(part, hours, one or ZERO, other or ZERO)


def _is_same(
    asked: Asked,
    kept: Kept,
    revision: int,
    public_id: str,
    external_id: str | None,
    ahead: int,
    is_simulated: bool,
    names: str | None,
) -> bool:
    """Whether what a state was made of is as it was, apart from usage."""
    if revision != kept.entitlement.revision or is_simulated:
        return False
    if (asked.external_customer_id if asked.customer_id is None else asked.customer_id) != (
        external_id if asked.customer_id is None else public_id
    ):
        return False
    return kept.state is None or (names or "", ahead) == (kept.names, kept.ahead_seconds)


class Tally:
    """What a kept state and the usage since add up to at a moment.

    Args:
        in_one: whether to read segments as one where only grants begin between them. Nothing is lost by that as long
            as usage only grows: overage is paid by the next grant whenever it began, and what was taken back is what
            later usage is set off against. `is_mixed` tells when some usage was taken back.
    """

    def __init__(self, kept: Kept, at: datetime, *, in_one: bool = True) -> None:
        self.kept, self.at = kept, at
        self.held, self.is_seen, self.is_stale, self.is_mixed = ZERO, False, False, False
        cuts = [cut for cut in kept.cuts if cut < at]
        # What is the same at every moment is of hours that are read whole.
        self._is_in_one = bool(cuts) and in_one and kept.begins is not None and bool(kept.parts)
        if self._is_in_one:
            cuts = []
        self._edges = [at] if kept.state is None else [kept.state.at, *cuts, at]
        self._used = [ZERO] * (len(self._edges) - 1)
        self._beyond = ZERO

    def parts(self) -> Iterator[tuple[int, bool, dict[str, Any]]]:
        """Give what has to be read: at least one part, which shows whether the state still holds.

        The hour of the moment is read whole, and what is dated in it at the moment or later is read from the events
        and taken off again: as a rule there is none.
        """
        kept, at = self.kept, self.at
        known = {"low": kept.seen.low, "seen": kept.seen.snapshot}
        if kept.state is None or kept.schedule is None or not kept.metrics or not kept.subjects:
            yield 0, True, known
            return
        close = floor_hour(at)
        close = at if close == at else close + HOUR
        beyond = ahead_until(kept.entitlement, kept.schedule, at, timedelta(seconds=kept.ahead_seconds))
        if kept.parts and len(self._edges) == 2:
            now = {"w": self._is_in_one, "z": close, "since": at, "one": close, "other": beyond}
            for part in kept.parts:
                yield 0, True, {**part, **now}
            return
        last = len(self._edges) - 2
        for metric, is_number in kept.metrics:
            for span in kept.subjects:
                row = {**known, "m": metric, "s": span.subject, "c": is_number, "kept": kept.state.at}
                for segment, (start, end) in enumerate(pairwise(self._edges)):
                    within = span.within(start, close if segment == last else end)
                    first, until = (at, at) if within is None else whole_hours(*within)
                    for since, one in () if within is None else edge_spans(*within):
                        yield segment, False, {**row, "since": since, "one": one}
                    if segment == last:
                        one, other = (min(end, span.end) if span.end else end for end in (close, beyond))
                        since = max(at, span.start) if span.start else at
                        yield (
                            segment,
                            True,
                            {**row, "a": first, "z": until, "since": since, "one": one, "other": other},
                        )
                    elif first < until:
                        yield segment, False, {**row, "a": first, "z": until}

    def add(self, part: Part, hours: Decimal | None, one: Decimal, other: Decimal) -> None:
        """Add what was read for a part."""
        if self.kept.state is None:
            return
        if hours is None:
            self.is_mixed = True
            return
        if part.is_last:
            self._beyond = EXACT.add(self._beyond, other)
            one = -one
        self._used[part.segment] = EXACT.add(self._used[part.segment], EXACT.add(hours, one))

    def standing(self) -> Standing | None:
        """Give what is left at the moment; None where the state does not hold."""
        if not self.is_seen or self.is_stale:
            return None
        balance, overage = self._left()
        return Standing(self.kept.entitlement, self.at, balance, overage, self.held)

    def _left(self) -> tuple[Decimal, Decimal]:
        kept = self.kept
        if kept.state is None:
            return ZERO, ZERO
        if self._is_in_one or (len(self._used) == 1 and self.at not in kept.cuts):
            begun = total(amount for start, amount in kept.begins or () if start <= self.at)
            balance = EXACT.add(kept.balance, begun)
            return spent(kept.state, balance=balance, used=self._used[0], beyond=self._beyond)
        state = run(
            kept.grants,
            kept.resets,
            begin=kept.state,
            points=self._edges,
            usages=self._used,
            beyond=self._beyond,
        ).state
        return state.balance, state.overage
