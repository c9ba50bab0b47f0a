"""Rights that nobody has: what the templates of some terms would cover of usage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.catalog.domain.templates import Template
from apps.catalog.models import BillableMetric
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.coverage import Draw, covered_units
from apps.entitlements.selectors.histories import History, assumed_histories
from apps.entitlements.selectors.terms import metered_fields
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.usage import UsageRequest

UsageOf = Callable[[Sequence[UsageRequest]], Sequence[Decimal | None]]


@dataclass(frozen=True, slots=True)
class AssumedRight:
    """A right by a template from a moment on: full at its beginning, without grants and without a past.

    Attributes:
        entitlement: not stored; its negative key names no row.
    """

    entitlement: Entitlement
    meters: Sequence[EntitlementMeter]
    subjects: Sequence[SubjectSpan]


def assume_right(
    *,
    number: int,
    organization_id: int,
    customer_id: int,
    terms: Template,
    metrics: Sequence[BillableMetric],
    active_from: datetime,
    active_to: datetime | None,
    anchor: datetime,
    tz: str,
    subjects: Sequence[SubjectSpan],
) -> AssumedRight:
    """Make a right that is not stored.

    Args:
        number: above 0, another for each that is asked about together.
        metrics: what its usage is counted by.
        active_to: when the holder is gone; what overage is left then is billed, as everywhere.
        anchor: that resets count from where the terms leave it open.
    """
    row = Entitlement(
        pk=-number,
        organization_id=organization_id,
        customer_id=customer_id,
        active_from=active_from,
        active_to=active_to,
        is_metered=True,
        timezone=tz,
        **metered_fields(terms, anchor=anchor),
    )
    meters = [EntitlementMeter(organization_id=organization_id, entitlement=row, metric=metric) for metric in metrics]
    return AssumedRight(row, meters, subjects)


def assumed_coverage(
    asked: Sequence[tuple[AssumedRight, int, datetime, datetime]], *, usage_of: UsageOf
) -> list[Decimal]:
    """Give what rights would cover of the usage of a metric (its key) in a span; n in, n answers out, same order."""
    by_key = {right.entitlement.pk: right for right, *_ in asked}

    def past_of(
        rows: Sequence[tuple[Entitlement, datetime]], cuts: Mapping[int, Sequence[datetime]]
    ) -> Mapping[int, History]:
        whole = [(row, at, by_key[row.pk].meters, by_key[row.pk].subjects) for row, at in rows]
        return assumed_histories(whole, cuts=cuts, usage_of=usage_of)

    draws = [Draw([(right.entitlement, metric)], start, end) for right, metric, start, end in asked]
    return covered_units(draws, past_of)
