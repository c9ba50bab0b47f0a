"""Pools of credits: their grants and what is drawn from them, put through the engine.

A pool has no reset. What recurs is filled up again, and overage waits for the next credits, so that the past always
matters and is read from its beginning.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from django.db.models import Q, QuerySet

from apps.catalog.models import Aggregation, PriceRevision
from apps.entitlements.domain.credits import Tap
from apps.entitlements.domain.engine import Run, cut_points, opening, run
from apps.entitlements.domain.grants import ZERO, Calendar, Grant
from apps.entitlements.models import CreditPool, Entitlement, PoolMeter
from apps.entitlements.models import Grant as GrantRow
from apps.kernel.money import EXACT
from apps.kernel.time import Cadence
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.rating.price_models import parse_properties

ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)


@dataclass(frozen=True, slots=True)
class PoolQuestion:
    """A pool, a moment, and the start of the period whose usage is asked for.

    Attributes:
        ahead: how far behind the moment usage may be dated and still count.
    """

    pool_id: int
    at: datetime
    since: datetime
    ahead: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class PoolRun:
    """What became of a pool's credits.

    Attributes:
        used: credits drawn since the start of the period that was asked for.
    """

    grants: Sequence[Grant]
    run: Run
    used: Decimal


@dataclass(slots=True)
class _Plan:
    asked: PoolQuestion
    grants: Sequence[Grant]
    points: Sequence[datetime]
    spans: Sequence[tuple[datetime, datetime]]
    # By meter: the numbers of its spans, and of the answers for them.
    reads: dict[int, tuple[list[int], list[int]]] = field(default_factory=dict)


def pools_of(*, organization_id: int) -> QuerySet[CreditPool]:
    """Give a merchant's pools with what shows them at hand, newest first."""
    rows = CreditPool.objects.filter(organization_id=organization_id)
    return rows.select_related("customer", "pricing_unit", "organization").order_by("-pk")


def find_pool_of(*, customer_id: int, pricing_unit_id: int) -> CreditPool | None:
    return CreditPool.objects.filter(customer_id=customer_id, pricing_unit_id=pricing_unit_id).first()


def is_linear(revision: PriceRevision) -> bool:
    """Whether each unit of its usage draws the same."""
    return revision.model == "standard" and revision.metric is not None and revision.metric.aggregation in ADDITIVE


def tap_of(meter: PoolMeter) -> Tap:
    """Give what a meter draws by; its revision and metric are at hand."""
    price = parse_properties(meter.revision.model, meter.revision.properties)
    return Tap(price, is_linear(meter.revision), meter.active_from, meter.active_to)


def pool_runs(
    asked: Iterable[PoolQuestion], *, subjects: Mapping[int, Sequence[SubjectSpan]] | None = None
) -> dict[PoolQuestion, PoolRun]:
    """Give what became of pools, with a few queries for all of them.

    Args:
        subjects: by customer key, what its events are named by, where it is known already.
    """
    questions = sorted(set(asked), key=lambda one: (one.pool_id, one.at, one.since))
    if not questions:
        return {}
    pools = {row.pk: row for row in CreditPool.objects.filter(pk__in={one.pool_id for one in questions})}
    grants, meters = _grants_of(pools), _meters_of(pools)
    if subjects is None:
        subjects = subjects_of(customer_ids=sorted({row.customer_id for row in pools.values()}))
    requests: list[UsageRequest] = []
    plans = []
    for one in questions:
        plan = _plan(one, grants[one.pool_id], meters[one.pool_id])
        for number, meter in enumerate(meters[one.pool_id]):
            tap = tap_of(meter)
            places = [(n, part) for n, span in enumerate(plan.spans) if (part := tap.within(*span)) is not None]
            first = len(requests)
            for _, part in places:
                start, end = tap.asks_for(part)
                named = subjects.get(pools[one.pool_id].customer_id, ())
                requests.append(UsageRequest(meter.organization_id, meter.metric_id, named, start, end))
            plan.reads[number] = [n for n, _ in places], list(range(first, len(requests)))
        plans.append(plan)
    answers = period_usage(requests=requests)
    return {plan.asked: _run(plan, meters[plan.asked.pool_id], answers) for plan in plans}


def _plan(one: PoolQuestion, grants: Sequence[Grant], meters: Sequence[PoolMeter]) -> _Plan:
    begin = min([one.at, *(grant.effective_at for grant in grants), *(meter.active_from for meter in meters)])
    points = cut_points(grants, (), start=begin, until=one.at, cuts=[max(one.since, begin)])
    beyond = [one.at, one.at + one.ahead] if one.ahead else []
    return _Plan(one, grants, points, [*pairwise(points), *pairwise(beyond)])


def _run(plan: _Plan, meters: Sequence[PoolMeter], answers: Sequence[Decimal | None]) -> PoolRun:
    usages = [ZERO] * len(plan.points)
    for number, meter in enumerate(meters):
        places, reads = plan.reads[number]
        drawn = tap_of(meter).drawn([answers[read] or ZERO for read in reads])
        for place, amount in zip(places, drawn, strict=True):
            usages[place] = EXACT.add(usages[place], amount)
    found = run(
        plan.grants,
        (),
        begin=opening(plan.grants, plan.points[0]),
        points=plan.points,
        usages=usages[:-1],
        beyond=usages[-1],
    )
    used = found.state.usage
    for segment in found.segments:
        if segment.end <= plan.asked.since:
            used = EXACT.subtract(used, segment.usage)
    return PoolRun(plan.grants, found, used)


def _meters_of(pool_ids: Iterable[int]) -> dict[int, list[PoolMeter]]:
    found: dict[int, list[PoolMeter]] = defaultdict(list)
    rows = PoolMeter.objects.filter(pool_id__in=pool_ids).select_related("revision__metric", "metric")
    for row in rows.order_by("pool_id", "metric_id", "active_from"):
        found[row.pool_id].append(row)
    return found


def _grants_of(pools: Mapping[int, Entitlement]) -> dict[int, list[Grant]]:
    """Give the credits of pools as the engine takes them: grants, and what features bring by their templates."""
    found: dict[int, list[Grant]] = defaultdict(list)
    for row in GrantRow.objects.filter(entitlement_id__in=pools):
        found[row.entitlement_id].append(
            Grant(
                id=row.public_id,
                amount=row.amount,
                priority=row.priority,
                effective_at=row.effective_at,
                created_at=row.granted_at,
                expires_at=row.expires_at,
                voided_at=row.voided_at,
                recurrence=_calendar(
                    row.recurrence, row.recurs_from or row.effective_at, pools[row.entitlement_id].timezone
                ),
                rollover_max=None,
                is_paid=row.price is not None,
                number=row.pk,
            )
        )
    for right in Entitlement.objects.filter(pool_id__in=pools, allowance__isnull=False):
        assert right.pool_id is not None
        assert right.allowance is not None
        found[right.pool_id].append(
            Grant(
                id=right.public_id,
                amount=right.allowance,
                priority=right.allowance_priority,
                effective_at=right.active_from,
                created_at=right.active_from,
                expires_at=right.active_to,
                recurrence=_calendar(right.reset_cadence, right.reset_anchor, right.timezone),
                rollover_max=None,
            )
        )
    return found


def _calendar(cadence: str, anchor: datetime | None, tz: str) -> Calendar | None:
    return Calendar(anchor, Cadence.parse(cadence), tz) if cadence and anchor is not None else None


def costs_of(
    uses: Sequence[tuple[Entitlement, datetime, Decimal]], *, ahead: timedelta = timedelta(0)
) -> list[Decimal]:
    """Give the credits that uses of features would draw; n uses in, n amounts out, same order.

    Where several prices have the feature, the dearest counts. A feature that no price of the time has draws a credit
    for each unit.

    Args:
        uses: rights that show a pool, moments, and units of use.
    """
    if not uses:
        return []
    rows = PoolMeter.objects.filter(
        pool_id__in={right.pool_id for right, _, _ in uses},
        revision__price__feature_id__in={right.right_to_id for right, _, _ in uses},
    ).filter(Q(active_to__isnull=True) | Q(active_to__gt=min(at for _, at, _ in uses)))
    meters: dict[tuple[int, int | None], list[PoolMeter]] = defaultdict(list)
    for row in rows.select_related("revision__price", "revision__metric", "pool"):
        meters[row.pool_id, row.revision.price.feature_id].append(row)
    asked = [
        (n, tap, meter, at)
        for n, (right, at, _) in enumerate(uses)
        for meter in meters[right.pool_id or 0, right.feature_id]
        if (tap := tap_of(meter)).start <= at and (tap.end is None or at < tap.end)
    ]
    steep = [row for row in asked if not row[1].is_linear]
    named = subjects_of(customer_ids=sorted({meter.pool.customer_id for _, _, meter, _ in steep})) if steep else {}
    answers = period_usage(
        requests=[
            UsageRequest(
                meter.organization_id, meter.metric_id, named.get(meter.pool.customer_id, ()), tap.start, at + ahead
            )
            for _, tap, meter, at in steep
            if tap.start < at + ahead
        ]
    )
    used = iter(answers)
    found: dict[int, list[Decimal]] = defaultdict(list)
    for n, tap, _, at in asked:
        before = next(used) or ZERO if not tap.is_linear and tap.start < at + ahead else ZERO
        found[n].append(tap.cost(uses[n][2], used=before))
    return [max(found[n]) if found[n] else quantity for n, (_, _, quantity) in enumerate(uses)]
