"""Which version of its plan decides the charges of a subscription, by when they fall due."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from apps.catalog.models import PlanVersion, PlanVersionPrice
from apps.invoicing.domain.adjustments import LinePrices
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.rows import many
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.subscriptions import upcoming_version_id

Since = tuple[datetime, int]
LineOf = tuple[int, str]


@dataclass(slots=True)
class _Versions:
    """Keys of versions, each from an instant on; see `LinePrices`."""

    in_arrears: list[Since]
    in_advance: list[Since]


@dataclass(slots=True)
class _Plan:
    """Under which keys the versions of a plan have prices.

    Attributes:
        slots: by the number of the version, keys of lines by the price.
    """

    slots: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))

    def prices(self, number: int, key: str) -> frozenset[int]:
        """Give the prices that are a line where a version is in force.

        Where ids of prices stay sold, a version gives up its price for another row, but what opened with it bills the
        first all the same: it is the line that the next version has it under.
        """
        later = sorted(known for known in self.slots if known >= number)
        earlier = sorted((known for known in self.slots if known < number), reverse=True)
        lines: dict[int, str] = {}
        for known in (*later, *earlier):
            lines = self.slots[known] | lines
        return frozenset(price_id for price_id, line in lines.items() if line == key)


def line_prices(lines: Iterable[tuple[Subscription, str]]) -> Mapping[LineOf, LinePrices]:
    """Give the prices that lines of subscriptions had when, by the subscription's key and the line's.

    Three queries; none where there are no lines.

    Args:
        lines: subscriptions, with their plan at hand, and keys of their plan.
    """
    wanted = list(lines)
    if not wanted:
        return {}
    versions = _versions_of({subscription.pk: subscription for subscription, _ in wanted})
    ids = {id for known in versions.values() for _, id in (*known.in_arrears, *known.in_advance)}
    numbers = dict(PlanVersion.objects.filter(pk__in=ids).values_list("pk", "number"))
    plans = _plans_of({subscription.plan_id for subscription, _ in wanted}, {key for _, key in wanted})
    known: dict[tuple[int, int, str], frozenset[int]] = {}

    def prices(plan_id: int, version_id: int, key: str) -> frozenset[int]:
        place = (plan_id, version_id, key)
        if place not in known:
            known[place] = plans[plan_id].prices(numbers[version_id], key)
        return known[place]

    return {
        (row.pk, key): LinePrices(
            in_arrears=tuple((at, prices(row.plan_id, id, key)) for at, id in versions[row.pk].in_arrears),
            in_advance=tuple((at, prices(row.plan_id, id, key)) for at, id in versions[row.pk].in_advance),
        )
        for row, key in wanted
    }


def _plans_of(plan_ids: Iterable[int], keys: Iterable[str]) -> Mapping[int, _Plan]:
    """Give, by plan, where prices stand that any version has under one of some keys."""
    slots = PlanVersionPrice.objects.filter(plan_version__plan_id__in=set(plan_ids))
    named = slots.filter(key__in=set(keys)).values("price_id")
    found: dict[int, _Plan] = defaultdict(_Plan)
    for plan_id, number, price_id, key in slots.filter(price_id__in=named).values_list(
        "plan_version__plan_id", "plan_version__number", "price_id", "key"
    ):
        found[plan_id].slots[number][price_id] = key
    return found


def _versions_of(subscriptions: Mapping[int, Subscription]) -> Mapping[int, _Versions]:
    invoices: dict[int, list[Invoice]] = defaultdict(list)
    # Early bills are parts of a period and documents are of several.
    rows = Invoice.objects.filter(subscription_id__in=many(subscriptions), part=0, has_members=False)
    for row in rows.order_by("subscription_id", "due_after", "sequence_number", "pk").only(
        "pk", "subscription_id", "sequence_number", "status", "due_after", "due_until", "plan_version_id",
        "opened_version_id",
    ):  # fmt: skip
        invoices[row.subscription_id].append(row)
    return {key: _versions(subscription, invoices[key]) for key, subscription in subscriptions.items()}


def _versions(subscription: Subscription, invoices: Iterable[Invoice]) -> _Versions:
    """Give by which versions a subscription is charged, from its invoices in order."""
    present = subscription.plan_version_id
    found = _Versions([(subscription.started_at, present)], [(subscription.started_at, present)])
    last: Invoice | None = None
    for row in invoices:
        version_id = row.plan_version_id or present
        if last is None:
            found = _Versions([], [])
        found.in_arrears.append((row.due_after, version_id))
        # What falls due in advance at the end of Invoice 0 is on it; at that of any other it is of the next period.
        is_on_last = last is not None and last.sequence_number == 0
        start = row.due_after + timedelta(microseconds=1) if is_on_last else row.due_after
        found.in_advance.append((start, row.opened_version_id or version_id))
        last = row
    if last is not None and last.status == InvoiceStatus.ACTIVE:
        upcoming = upcoming_version_id(subscription)
        found.in_arrears.append((last.due_until, upcoming))
        found.in_advance.append((last.due_until, upcoming))
    return found
