"""Balances: the grants of rights and the usage of their meters, put through the engine."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from apps.catalog.models import Aggregation
from apps.entitlements.domain.access import has_balance, is_in_force
from apps.entitlements.domain.engine import Run, State, cut_points, opening, refreshed, run
from apps.entitlements.domain.grants import ZERO, Calendar, Grant
from apps.entitlements.domain.resets import Reset, Schedule
from apps.entitlements.models import Entitlement, EntitlementMeter, UsageReset
from apps.entitlements.models import Grant as GrantRow
from apps.entitlements.selectors.pools import PoolQuestion, pool_runs
from apps.entitlements.selectors.schedules import period_of, schedule_of
from apps.kernel.money import EXACT
from apps.kernel.time import Cadence
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.usage import UsageRequest, period_usage

# Their quantities add up over time; of the others, what a span adds is a difference within its period.
ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)
# The id by which the engine knows units that the template issues.
ALLOWANCE = "allowance"
NO_TIME = timedelta(0)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class History:
    """What became of an entitlement's units until a moment.

    Attributes:
        grants: units by the id under which segments name them.
        run: segments since `begin`, which is where the past still matters.
        period: the usage period that holds the moment; its end is None where nothing resets.
        usage: by segment, what each metric (its key) counted.
        kept: the state at the instant that was asked to be kept.
        meters: what its usage is counted by, each metric once.
        subjects: what the customer's events are named by.
        schedule: when it resets.
        by_hand: the resets among them that somebody made, in order of time.
    """

    entitlement: Entitlement
    at: datetime
    grants: Sequence[Grant]
    run: Run
    period: tuple[datetime, datetime | None]
    schedule: Schedule
    usage: Sequence[Mapping[int, Decimal]] = ()
    kept: State | None = None
    meters: Sequence[EntitlementMeter] = ()
    subjects: Sequence[SubjectSpan] = ()
    by_hand: Sequence[UsageReset] = ()

    @property
    def state(self) -> State:
        return self.run.state

    @property
    def has_access(self) -> bool:
        """Whether the feature may be used at the moment."""
        row = self.entitlement
        if not is_in_force(active_from=row.active_from, active_to=row.active_to, at=self.at):
            return False
        return not row.is_metered or has_balance(balance=self.state.balance, is_soft=row.is_soft_limit)


@dataclass(slots=True)
class _Plan:
    entitlement: Entitlement
    at: datetime
    grants: Sequence[Grant]
    schedule: Schedule
    by_hand: Sequence[UsageReset]
    resets: Sequence[Reset]
    begin: State
    points: Sequence[datetime]
    meters: Sequence[EntitlementMeter]
    subjects: Sequence[SubjectSpan]
    keep: datetime | None
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    usages: list[Decimal] = field(default_factory=list)

    @property
    def new_periods(self) -> set[datetime]:
        """When usage periods begin."""
        return {reset.at for reset in self.resets if not reset.is_billing}


def domain_grants(entitlement: Entitlement, rows: Iterable[GrantRow]) -> list[Grant]:
    """Give the units of an entitlement as the engine takes them, its allowance among them."""
    found = [
        Grant(
            id=row.public_id,
            amount=row.amount,
            priority=row.priority,
            effective_at=max(row.effective_at, entitlement.active_from),
            created_at=row.granted_at,
            expires_at=row.expires_at,
            voided_at=row.voided_at,
            recurrence=Calendar(row.effective_at, Cadence.parse(row.recurrence), entitlement.timezone)
            if row.recurrence
            else None,
            rollover_min=row.rollover_min,
            rollover_max=row.rollover_max,
            is_paid=row.price is not None,
            number=row.pk,
        )
        for row in rows
    ]
    if entitlement.allowance is not None:
        found.append(
            Grant(
                id=ALLOWANCE,
                amount=entitlement.allowance,
                priority=entitlement.allowance_priority,
                effective_at=entitlement.active_from,
                created_at=entitlement.active_from,
                rollover_min=entitlement.rollover_min,
                rollover_max=entitlement.rollover_max,
                is_allowance=True,
                opening=entitlement.first_allowance,
            )
        )
    return found


def histories(
    asked: Sequence[tuple[Entitlement, datetime]],
    *,
    cuts: Mapping[int, Sequence[datetime]] | None = None,
    ahead: timedelta = NO_TIME,
    is_whole: bool = False,
    subjects: Mapping[int, Sequence[SubjectSpan]] | None = None,
    keep: Mapping[int, datetime] | None = None,
) -> dict[int, History]:
    """Give what became of entitlements until moments, with a few queries for all of them.

    Args:
        asked: entitlements, with their subscription at hand, and a moment for each.
        cuts: by entitlement key, instants to cut at; the history reaches back to the first of them at least.
        ahead: how far behind the moment usage may be dated and still count in the running segment: clocks of
            senders run ahead.
        is_whole: whether to begin at the beginning also where the past no longer matters, to show it.
        subjects: what the customers' events are named by, where it is known already.
        keep: by entitlement key, an instant whose state is wanted as well, or the right's beginning if later.

    Returns:
        By entitlement key.
    """
    in_credits = [(row, at) for row, at in asked if row.is_in_credits]
    asked = [(row, at) for row, at in asked if not row.is_in_credits]
    metered = [row for row, _ in asked if row.is_metered]
    grants: dict[int, list[GrantRow]] = defaultdict(list)
    meters: dict[int, list[EntitlementMeter]] = defaultdict(list)
    by_hand: dict[int, list[UsageReset]] = defaultdict(list)
    found = _of_pools(in_credits, ahead, subjects) if in_credits else {}
    if metered:
        for grant in GrantRow.objects.filter(entitlement__in=metered):
            grants[grant.entitlement_id].append(grant)
        for meter in EntitlementMeter.objects.filter(entitlement__in=metered).select_related("metric"):
            meters[meter.entitlement_id].append(meter)
        for reset in UsageReset.objects.filter(entitlement__in=metered).order_by("effective_at"):
            by_hand[reset.entitlement_id].append(reset)
        if subjects is None:
            subjects = subjects_of(customer_ids=sorted({row.customer_id for row in metered}))
    plans = [
        _plan(
            row,
            at,
            grants[row.pk],
            meters[row.pk],
            by_hand[row.pk],
            (cuts or {}).get(row.pk, ()),
            (subjects or {}).get(row.customer_id, ()),
            is_whole=is_whole,
            keep=(keep or {}).get(row.pk),
        )
        for row, at in asked
    ]
    requests: list[UsageRequest] = []
    for plan in plans:
        _ask(plan, requests, ahead)
    answers = period_usage(requests=requests)
    return found | {plan.entitlement.pk: _history(plan, answers) for plan in plans}


def assumed_histories(
    asked: Sequence[tuple[Entitlement, datetime, Sequence[EntitlementMeter], Sequence[SubjectSpan]]],
    *,
    cuts: Mapping[int, Sequence[datetime]],
    usage_of: Callable[[Sequence[UsageRequest]], Sequence[Decimal | None]],
) -> dict[int, History]:
    """Give what would become of rights that nobody has, without grants, over some usage.

    Args:
        asked: rights that are not stored, moments, what counts their usage, and what the events are named by.
        cuts: as `histories`.
        usage_of: gives the usage of spans.
    """
    plans = [
        _plan(row, at, (), meters, (), cuts.get(row.pk, ()), subjects, is_whole=False, keep=None)
        for row, at, meters, subjects in asked
    ]
    requests: list[UsageRequest] = []
    for plan in plans:
        _ask(plan, requests, NO_TIME)
    answers = usage_of(requests)
    return {plan.entitlement.pk: _history(plan, answers) for plan in plans}


def _of_pools(
    asked: Sequence[tuple[Entitlement, datetime]],
    ahead: timedelta,
    subjects: Mapping[int, Sequence[SubjectSpan]] | None,
) -> dict[int, History]:
    """Give what became of pools, and of rights that show one: all of the pool, and its usage in their own period."""
    questions = {}
    for row, at in asked:
        until = max(at if row.active_to is None else min(at, row.active_to), row.active_from)
        since, _ = period_of(row, schedule_of(row), at)
        questions[row.pk] = PoolQuestion(row.drawn_id, until, since, ahead if until == at else NO_TIME)
    runs = pool_runs(questions.values(), subjects=subjects)
    found = {}
    for row, at in asked:
        pool = runs[questions[row.pk]]
        shown = replace(pool.run, state=replace(pool.run.state, usage=pool.used))
        schedule = schedule_of(row)
        found[row.pk] = History(row, at, pool.grants, shown, period_of(row, schedule, at), schedule)
    return found


def _plan(
    row: Entitlement,
    at: datetime,
    grants: Sequence[GrantRow],
    meters: Sequence[EntitlementMeter],
    by_hand: Sequence[UsageReset],
    cuts: Sequence[datetime],
    subjects: Sequence[SubjectSpan],
    *,
    is_whole: bool,
    keep: datetime | None,
) -> _Plan:
    units = domain_grants(row, grants) if row.is_metered else []
    until = max(at if row.active_to is None else min(at, row.active_to), row.active_from)
    schedule = schedule_of(row, by_hand)
    begin = opening(units, row.active_from)
    if keep is not None:
        keep = min(max(keep, begin.at), until)
        cuts = [*cuts, keep]
    latest = min([until, *cuts])
    last = None if is_whole else _last_refreshed(units, schedule, latest)
    resets = schedule.between(row.active_from if last is None else last.at, until)
    if last is not None:
        begin = last
    elif not is_whole:
        for reset in reversed(resets):
            is_fresh = reset.at <= latest and not (reset.is_preserving or reset.is_billing)
            if is_fresh and (state := refreshed(units, reset.at)) is not None:
                begin = state
                break
    points = cut_points(units, resets, start=begin.at, until=until, cuts=cuts)
    # One price after the other may count the same metric; it counts once.
    unique = {meter.metric_id: meter for meter in meters}
    return _Plan(row, at, units, schedule, by_hand, resets, begin, points, list(unique.values()), subjects, keep)


def _last_refreshed(units: Sequence[Grant], schedule: Schedule, latest: datetime) -> State | None:
    """Give the state right after the last reset before a moment, where it depends on nothing before.

    So that a right of many years costs what one of a period does.
    """
    start, _ = schedule.period(latest)
    if start <= schedule.begins_at:
        return None
    (reset,) = schedule.between(start - MICROSECOND, start)
    return None if reset.is_preserving else refreshed(units, start)


def _ask(plan: _Plan, requests: list[UsageRequest], ahead: timedelta) -> None:
    """Add what has to be read for a history; it remembers where the answers will be."""
    resets = plan.new_periods
    period_start = plan.begin.at
    for n, (start, end) in enumerate(pairwise([*plan.points, *_beyond(plan, ahead)])):
        if start in resets:
            period_start = start
        for meter in plan.meters:
            since = start if meter.metric.aggregation in ADDITIVE else period_start
            plan.asked.append((n, meter.metric_id, len(requests)))
            requests.append(
                UsageRequest(plan.entitlement.organization_id, meter.metric_id, plan.subjects, since, end)
            )


def _beyond(plan: _Plan, ahead: timedelta) -> list[datetime]:
    """Give until when usage that is dated ahead counts already: never beyond the running period."""
    if not ahead or plan.points[-1] != plan.at:
        return []
    end = ahead_until(plan.entitlement, plan.schedule, plan.at, ahead)
    return [end] if end > plan.at else []


def ahead_of(rows: Sequence[Entitlement]) -> timedelta:
    """Give how far ahead the clocks of a merchant's senders may be: their usage counts at once."""
    return timedelta(seconds=rows[0].organization.event_seconds_ahead) if rows else NO_TIME


def ahead_until(entitlement: Entitlement, schedule: Schedule, at: datetime, ahead: timedelta) -> datetime:
    """Give until when usage dated ahead of a moment counts at it."""
    _, period_end = period_of(entitlement, schedule, at)
    return at + ahead if period_end is None else min(at + ahead, period_end)


def _history(plan: _Plan, answers: Sequence[Decimal | None]) -> History:
    resets = plan.new_periods
    kinds = {meter.metric_id: meter.metric.aggregation for meter in plan.meters}
    # One more than segments: what is dated ahead.
    usage: list[dict[int, Decimal]] = [{} for _ in plan.points]
    before: dict[int, Decimal] = {}
    for n, metric_id, number in plan.asked:
        total = answers[number] or ZERO
        if kinds[metric_id] in ADDITIVE:
            usage[n][metric_id] = total
            continue
        earlier = ZERO if plan.points[n] in resets else before.get(metric_id, ZERO)
        usage[n][metric_id] = EXACT.subtract(total, earlier)
        before[metric_id] = total
    usages = []
    for known in usage:
        summed = ZERO
        for quantity in known.values():
            summed = EXACT.add(summed, quantity)
        usages.append(summed)
    found = _run(plan, len(plan.points), usages[:-1], usages[-1])
    kept = None
    if plan.keep is not None:
        upto = plan.points.index(plan.keep)
        kept = _run(plan, upto + 1, usages[:upto]).state
    return History(
        entitlement=plan.entitlement,
        at=plan.at,
        grants=plan.grants,
        run=found,
        period=period_of(plan.entitlement, plan.schedule, plan.at),
        schedule=plan.schedule,
        usage=usage[:-1],
        kept=kept,
        meters=plan.meters,
        subjects=plan.subjects,
        by_hand=plan.by_hand,
    )


def _run(plan: _Plan, points: int, usages: Sequence[Decimal], beyond: Decimal = ZERO) -> Run:
    return run(
        plan.grants,
        plan.resets,
        begin=plan.begin,
        points=plan.points[:points],
        usages=usages,
        beyond=beyond,
    )
