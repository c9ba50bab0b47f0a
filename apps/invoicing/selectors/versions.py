"""Which line of its plan a price is for a subscription, by the version that a charge is billed by."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from apps.catalog.models import PlanVersion, PlanVersionPrice
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.rows import many
from apps.subscriptions.domain.plan_lines import PlanLines
from apps.subscriptions.domain.timeline import Timeline
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import upcoming_version_id
from apps.subscriptions.selectors.timeline import timelines_of

Since = tuple[datetime, int]


@dataclass(slots=True)
class _Plan:
    """Under which keys the versions of a plan have prices.

    Attributes:
        slots: by the number of the version, keys of lines by the price.
        known: what was asked before.
    """

    slots: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    known: dict[int, Mapping[int, str]] = field(default_factory=dict)

    @property
    def exchanges_lines(self) -> bool:
        """Whether a price is not the same line in all versions."""
        pairs = {pair for slots in self.slots.values() for pair in slots.items()}
        return len(pairs) > len({price_id for price_id, _ in pairs})

    def keys(self, number: int) -> Mapping[int, str]:
        """Give the lines by the price where a version is in force.

        Where ids of prices stay sold, a version gives up its price for another row, but what opened with it bills the
        first all the same: it is the line that the next version has it under.
        """
        if number not in self.known:
            later = sorted(known for known in self.slots if known >= number)
            earlier = sorted((known for known in self.slots if known < number), reverse=True)
            lines: dict[int, str] = {}
            for other in (*later, *earlier):
                lines = self.slots[other] | lines
            self.known[number] = lines
        return self.known[number]


@dataclass(slots=True)
class _Versions:
    """Keys of versions, each from an instant on; see `PlanLines`."""

    in_arrears: list[Since]
    in_advance: list[Since]


def plan_lines(subscriptions: Iterable[Subscription]) -> dict[int, PlanLines]:
    """Give by the subscription's key which line each price was when.

    One query, none without subscriptions, and two more where a plan's versions exchange prices.

    Args:
        subscriptions: with their plan at hand.
    """
    by_id = {subscription.pk: subscription for subscription in subscriptions}
    if not by_id:
        return {}
    plans: dict[int, _Plan] = defaultdict(_Plan)
    slots = PlanVersionPrice.objects.filter(plan_version__plan_id__in={row.plan_id for row in by_id.values()})
    for plan_id, number, price_id, key in slots.values_list(
        "plan_version__plan_id", "plan_version__number", "price_id", "key"
    ):
        plans[plan_id].slots[number][price_id] = key
    moving = {id: row for id, row in by_id.items() if plans[row.plan_id].exchanges_lines}
    versions = _versions_of(moving)
    ids = {id for known in versions.values() for _, id in (*known.in_arrears, *known.in_advance)}
    numbers = dict(PlanVersion.objects.filter(pk__in=ids).values_list("pk", "number")) if ids else {}
    found = {}
    for subscription_id, row in by_id.items():
        plan, known = plans[row.plan_id], versions.get(subscription_id)
        found[subscription_id] = (
            PlanLines.always(plan.keys(0))
            if known is None
            else PlanLines(
                tuple((at, plan.keys(numbers[id])) for at, id in known.in_arrears),
                tuple((at, plan.keys(numbers[id])) for at, id in known.in_advance),
            )
        )
    return found


def dated_timelines(subscriptions: Iterable[Subscription]) -> dict[int, Timeline]:
    """Give the timelines of subscriptions; their prices are the lines that they were when charges fell due.

    Args:
        subscriptions: with their plan at hand.
    """
    by_id = {subscription.pk: subscription for subscription in subscriptions}
    timelines = timelines_of(by_id.values())
    lines = plan_lines(by_id[key] for key, timeline in timelines.items() if not timeline.is_plain)
    return timelines | {key: replace(timelines[key], lines=known) for key, known in lines.items()}


def _versions_of(subscriptions: Mapping[int, Subscription]) -> Mapping[int, _Versions]:
    if not subscriptions:
        return {}
    invoices: dict[int, list[Invoice]] = defaultdict(list)
    # Early bills are parts of a period and documents are of several.
    rows = Invoice.objects.filter(
        subscription_id__in=many(subscriptions), part=0, has_members=False, is_purchase=False
    )
    for row in rows.order_by("subscription_id", "due_after", "sequence_number", "pk").only(
        "pk", "subscription_id", "sequence_number", "status", "due_after", "due_until", "plan_version_id",
        "opened_version_id",
    ):  # fmt: skip
        invoices[row.subscription_id].append(row)
    return {key: _versions(subscription, invoices[key]) for key, subscription in subscriptions.items()}


def _versions(subscription: Subscription, invoices: Iterable[Invoice]) -> _Versions:
    """Give by which versions a subscription is charged, from its invoices in order."""
    present = subscription.plan_version_id
    found = _Versions([], [])
    last: Invoice | None = None
    for row in invoices:
        version_id = row.plan_version_id or present
        found.in_arrears.append((row.due_after, version_id))
        # What falls due in advance at the end of Invoice 0 is on it; at that of any other it is of the next period.
        is_on_last = last is not None and last.sequence_number == 0
        start = row.due_after + timedelta(microseconds=1) if is_on_last else row.due_after
        found.in_advance.append((start, row.opened_version_id or version_id))
        last = row
    if last is None or last.status == InvoiceStatus.ACTIVE:
        at = subscription.started_at if last is None else last.due_until
        upcoming = present if last is None else upcoming_version_id(subscription)
        found.in_arrears.append((at, upcoming))
        found.in_advance.append((at, upcoming))
    return found
