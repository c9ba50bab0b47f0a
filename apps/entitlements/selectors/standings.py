"""What is left of rights now: one query where their states are kept, the whole history where they are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
from django.db import connection

from apps.entitlements.domain.engine import run
from apps.entitlements.domain.grants import ZERO
from apps.entitlements.domain.standing import spent
from apps.entitlements.models import Entitlement
from apps.entitlements.selectors.asking import Asked, find_rights
from apps.entitlements.selectors.entitlements import held_units
from apps.entitlements.selectors.histories import ahead_of, ahead_until, histories
from apps.entitlements.selectors.kept import HOUR, Kept, Seen, find_keepable, keeping_at, memory
from apps.kernel.clock import wall_now
from apps.kernel.money import EXACT
from apps.kernel.prepared import read_prepared
from apps.kernel.time import floor_hour
from apps.metering.domain.grid import edge_spans, whole_hours

# Parts of a read beside the segments: what windows hold beyond the moment, and what counts already of that.
OVER, BEYOND = -1, -2

SEEN = """
SELECT pg_current_snapshot()::text, pg_snapshot_xmin(pg_current_snapshot())::text, now(),
       pg_current_xact_id_if_assigned() IS NOT NULL
"""

# Everything that a kept state depends on, as it is in this statement's snapshot, and the usage since.
#
# `late` finds changes of hours before a state by transactions that were not done when it was made. Marks that no
# transaction of this server can have left come from a backup of another.
READ = """
WITH used AS (
    SELECT n, array_agg(j) AS parts, array_agg(total) AS totals
    FROM (
        SELECT n, j, sum(total) AS total
        FROM (
            SELECT r.n, r.j, w.total
            FROM jsonb_to_recordset(%(hours)s::jsonb)
                AS r(n int, j int, c boolean, m bigint, s bigint, a timestamptz, z timestamptz)
            CROSS JOIN LATERAL (
                SELECT CASE WHEN r.c THEN sum(count) ELSE sum(sum) END AS total FROM metering_window
                WHERE metric_id = r.m AND subject_id = r.s AND hour >= r.a AND hour < r.z
            ) AS w
            UNION ALL
            SELECT r.n, r.j, e.total
            FROM jsonb_to_recordset(%(spans)s::jsonb)
                AS r(n int, j int, c boolean, m bigint, s bigint, o bigint, a timestamptz, z timestamptz)
            CROSS JOIN LATERAL (
                SELECT CASE WHEN r.c THEN count(*) ELSE sum(x.v) END AS total
                FROM metering_event AS e CROSS JOIN LATERAL unnest(e.metrics, e.quantities) AS x(m, v)
                WHERE e.subject_id = r.s AND e.occurred_at >= r.a AND e.occurred_at < r.z
                  AND e.organization_id = r.o AND x.m = r.m
            ) AS e
        ) AS read GROUP BY n, j
    ) AS part GROUP BY n
), late AS (
    SELECT DISTINCT r.n
    FROM jsonb_to_recordset(%(states)s::jsonb)
        AS r(n int, m bigint, s bigint, kept timestamptz, low xid8, seen pg_snapshot)
    CROSS JOIN LATERAL (
        SELECT w.late_xid FROM metering_window AS w
        WHERE w.metric_id = r.m AND w.subject_id = r.s AND w.late_xid >= r.low AND w.hour < r.kept
        UNION ALL
        SELECT gone.late_xid FROM metering_windowgone AS gone
        WHERE gone.metric_id = r.m AND gone.subject_id = r.s AND gone.late_xid >= r.low AND gone.hour < r.kept
    ) AS changed
    WHERE NOT pg_visible_in_snapshot(changed.late_xid, r.seen)
      AND (changed.late_xid < pg_snapshot_xmax(pg_current_snapshot())
           OR changed.late_xid = pg_current_xact_id_if_assigned())
)
SELECT r.n, e.revision, customer.public_id, customer.external_id, organization.event_seconds_ahead,
       CASE WHEN e.subscription_id IS NULL THEN EXISTS (
           SELECT FROM subscriptions_subscription AS live
           WHERE live.customer_id = e.customer_id AND live.test_clock_id IS NOT NULL AND live.status <> 'terminated'
       ) ELSE EXISTS (
           SELECT FROM subscriptions_subscription AS own
           WHERE own.id = e.subscription_id AND own.test_clock_id IS NOT NULL
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
       r.n IN (SELECT n FROM late) AS is_late,
       used.parts, used.totals
FROM jsonb_to_recordset(%(rights)s::jsonb) AS r(n int, e bigint)
CROSS JOIN LATERAL (SELECT * FROM entitlements_entitlement WHERE id = r.e OFFSET 0) AS e
CROSS JOIN LATERAL (SELECT * FROM customers_customer WHERE id = e.customer_id OFFSET 0) AS customer
CROSS JOIN LATERAL (SELECT * FROM organizations_organization WHERE id = e.organization_id OFFSET 0) AS organization
LEFT JOIN used ON used.n = r.n
"""

Records = dict[str, list[dict[str, Any]]]


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


def standings(*, organization_id: int, asked: Sequence[Asked]) -> list[Standing | None]:
    """Give what is left of the right that each question is about; n questions in, n answers out, same order.

    None where the customer has none now.
    """
    at, database = wall_now(), str(connection.settings_dict["NAME"])
    wanted = list(dict.fromkeys(asked))
    kept = {one: found for one in wanted if (found := memory.find(database, organization_id, one)) is not None}
    usable = [(one, state) for one, state in kept.items() if state.holds_at(at)]
    answers: dict[Asked, Standing | None] = dict(_carried(usable, at)) if usable else {}
    missing = [one for one in wanted if one not in answers]
    if missing:
        for one in missing:
            memory.forget(database, organization_id, one)
        for one, standing, keepable in _worked_out(organization_id, missing):
            answers[one] = standing
            if keepable is not None:
                memory.keep(database, organization_id, one, keepable)
    return [answers[one] for one in asked]


def find_kept_keys(*, organization_id: int, asked: Sequence[Asked]) -> set[int] | None:
    """Give the keys of the rights that questions were about; None when the process does not remember all of them."""
    database = str(connection.settings_dict["NAME"])
    kept = [memory.find(database, organization_id, one) for one in asked]
    return None if None in kept else {one.entitlement.pk for one in kept if one is not None}


def _carried(usable: Sequence[tuple[Asked, Kept]], at: datetime) -> Iterator[tuple[Asked, Standing]]:
    """Carry kept states to a moment; those that do not hold any more are left out."""
    records: Records = {"rights": [], "states": [], "hours": [], "spans": []}
    edges = []
    for n, (_, kept) in enumerate(usable):
        records["rights"].append({"n": n, "e": kept.entitlement.pk})
        edges.append(_ask(n, kept, at, records))
    values = {name: msgspec.json.encode(rows).decode() for name, rows in records.items()}
    for (
        n,
        revision,
        public_id,
        external_id,
        ahead,
        is_simulated,
        names,
        held,
        is_late,
        parts,
        totals,
    ) in read_prepared(READ, {**values, "at": at}):
        asked, kept = usable[n]
        if (
            revision == kept.entitlement.revision
            and not is_simulated
            and (asked.customer_id is None or asked.customer_id == public_id)
            and (asked.customer_id is not None or asked.external_customer_id == external_id)
            and (kept.state is None or (not is_late and (names or "", ahead) == (kept.names, kept.ahead_seconds)))
        ):
            used = {part: total or ZERO for part, total in zip(parts or (), totals or (), strict=True)}
            balance, overage = _carry(kept, edges[n], used)
            yield asked, Standing(kept.entitlement, at, balance, overage, held or ZERO)


def _ask(n: int, kept: Kept, at: datetime, records: Records) -> list[datetime]:
    """Add what has to be read to carry a state to a moment; gives the edges of its segments.

    The hour of the moment is read whole, and what is dated in it at the moment or later is read from the events and
    taken off again: as a rule there is none.
    """
    if kept.state is None:
        return []
    edges = [kept.state.at, *(cut for cut in kept.cuts if cut < at), at]
    hour = floor_hour(at)
    close = at if hour == at else hour + HOUR
    beyond = ahead_until(kept.entitlement, at, timedelta(seconds=kept.ahead_seconds))
    for metric, is_number in kept.metrics:
        for span in kept.subjects:
            known = {"n": n, "c": is_number, "m": metric, "s": span.subject}
            records["states"].append(
                {
                    "n": n, "m": metric, "s": span.subject, "kept": kept.state.at,
                    "low": kept.seen.low, "seen": kept.seen.snapshot,
                }
            )  # fmt: skip
            for j, (start, end) in enumerate(pairwise(edges)):
                part = span.within(start, end if end < at else close)
                if part is None:
                    continue
                first, last = whole_hours(*part)
                if first < last:
                    records["hours"].append({**known, "j": j, "a": first, "z": last})
                records["spans"] += [_span(kept, known, j, a, z) for a, z in edge_spans(*part)]
            for j, end in ((OVER, close), (BEYOND, beyond)):
                part = span.within(at, end)
                if part is not None:
                    records["spans"].append(_span(kept, known, j, *part))
    return edges


def _span(kept: Kept, known: Mapping[str, Any], j: int, start: datetime, end: datetime) -> dict[str, Any]:
    return {**known, "o": kept.entitlement.organization_id, "j": j, "a": start, "z": end}


def _carry(kept: Kept, edges: Sequence[datetime], used: Mapping[int, Decimal]) -> tuple[Decimal, Decimal]:
    """Give balance and overage at the last edge."""
    if kept.state is None:
        return ZERO, ZERO
    usages = [used.get(j, ZERO) for j in range(len(edges) - 1)]
    usages[-1] = EXACT.subtract(usages[-1], used.get(OVER, ZERO))
    beyond = used.get(BEYOND, ZERO)
    at = edges[-1]
    if len(usages) == 1 and at not in kept.cuts:
        return spent(kept.state, used=usages[0], beyond=beyond)
    state = run(
        kept.grants,
        kept.resets,
        begin=kept.state,
        points=edges,
        usages=usages,
        is_preserving=kept.entitlement.preserves_overage,
        beyond=beyond,
    ).state
    return state.balance, state.overage


def _worked_out(organization_id: int, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Standing | None, Kept | None]]:
    """Go through the history of rights, and give beside what is left what can be kept of it."""
    seen = _seen()
    rights = find_rights(organization_id=organization_id, asked=asked)
    known = {right.entitlement.pk: right for right in rights if right is not None}
    past = histories(
        [(right.entitlement, right.at) for right in known.values()],
        ahead=ahead_of([right.entitlement for right in known.values()]),
        keep={pk: keeping_at(seen, right.at) for pk, right in known.items() if not right.is_simulated},
    )
    held = held_units(past, at={pk: history.at for pk, history in past.items()})
    for one, right in zip(asked, rights, strict=True):
        if right is None:
            yield one, None, None
            continue
        row, history = right.entitlement, past[right.entitlement.pk]
        state = history.state
        standing = Standing(row, right.at, state.balance, state.overage, held.get(row.pk, ZERO))
        yield one, standing, None if right.is_simulated else find_keepable(history, seen)


def _seen() -> Seen:
    with connection.cursor() as cursor:
        cursor.execute(SEEN)
        return Seen(*cursor.fetchone())
