"""Which units of which rights simulated bills take off usage, and what is assumed of them.

Whoever has a right to a feature already, by the terms that are simulated or by hand, keeps it: its grants, resets and
past count as they were. Otherwise the template of the simulated terms decides: a right that is full when the
simulated time begins, without grants, and with nothing used before.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from apps.catalog.domain.templates import Template, TemplateError
from apps.catalog.models import BillableMetric, Feature, PriceRevision
from apps.entitlements.models import Entitlement, EntitlementMeter
from apps.entitlements.selectors.assumed import AssumedRight, UsageOf, assume_right, assumed_coverage
from apps.entitlements.selectors.coverage import Draw, covered_units
from apps.entitlements.selectors.terms import terms_of
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.metered import MeteredRequest
from apps.kernel.money import EXACT
from apps.kernel.rows import many
from apps.metering.selectors.links import SubjectSpan
from apps.rating.usage import Usage

ENTITLEMENT, TEMPLATE = "entitlement", "template"
BASES = (ENTITLEMENT, TEMPLATE)
ZERO = Decimal(0)


@dataclass(slots=True)
class AssumedUnits:
    """What a simulated bill took off the usage of a feature.

    Attributes:
        basis: whether rights that are there decide, or the template of the simulated terms.
        rights: those that are there.
        covered: units that cost nothing.
    """

    feature: Feature
    basis: str
    rights: tuple[Entitlement, ...] = ()
    covered: Decimal = ZERO


@dataclass(slots=True)
class _Sold:
    """A metered feature of some terms, with the metrics that its prices count by."""

    feature: Feature
    template: Mapping[str, Any] | None = None
    terms: Template | None = None
    metrics: dict[int, BillableMetric] = field(default_factory=dict)
    price_ids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Side:
    """A simulated bill and what it assumes, by feature."""

    invoice: Invoice
    sold: Mapping[int, _Sold]
    units: dict[int, AssumedUnits] = field(default_factory=dict)
    assumed: dict[int, AssumedRight] = field(default_factory=dict)


class SimulatedRights:
    """The rights of simulated bills, read once for all of them; where no terms sell a feature, nothing is read."""

    def __init__(
        self,
        rows: Sequence[Invoice],
        revisions: Mapping[int, PriceRevision],
        subjects: Mapping[int, Sequence[SubjectSpan]],
        *,
        usage_of: UsageOf,
        gone: Mapping[int, datetime] | None = None,
    ) -> None:
        """Work out which rights count.

        Args:
            rows: bills that are not stored, each with its subscription.
            revisions: the prices of all of them, by key.
            subjects: by customer key.
            usage_of: gives the usage that assumed rights are drawn on by.
            gone: by customer key, when it left; a right ends then.
        """
        self._usage_of = usage_of
        features = _features_of(revisions.values())
        by_terms: dict[tuple[int, ...], dict[int, _Sold]] = {}
        self._sides: dict[int, _Side] = {}
        for row in rows if features else ():
            key = tuple(row.price_revision_ids)
            if key not in by_terms:
                by_terms[key] = _sold([revisions[one] for one in key], features)
            if by_terms[key]:
                self._sides[row.subscription.pk] = _Side(row, by_terms[key])
        rights, metrics = _rights_of([side.invoice for side in self._sides.values()], features)
        number = 0
        for side in self._sides.values():
            customer_id, subscription = side.invoice.customer.pk, side.invoice.subscription
            for feature_id, sold in side.sold.items():
                known = _kept(rights[customer_id, feature_id], metrics, sold, side.invoice)
                side.units[feature_id] = AssumedUnits(sold.feature, ENTITLEMENT if known else TEMPLATE, known)
                if not known and sold.terms is not None:
                    number += 1
                    side.assumed[feature_id] = assume_right(
                        number=number,
                        organization_id=side.invoice.organization_id,
                        customer_id=customer_id,
                        terms=sold.terms,
                        metrics=list(sold.metrics.values()),
                        active_from=side.invoice.period_start,
                        active_to=(gone or {}).get(customer_id),
                        anchor=subscription.billing_anchor,
                        tz=subscription.timezone,
                        subjects=subjects.get(customer_id, ()),
                    )

    def applied(self, requests: Sequence[MeteredRequest], usages: Sequence[Usage]) -> list[Usage]:
        """Take off usage what rights cover of it; n in, n out, same order. Asked once for all charges."""
        found = list(usages)
        real: dict[int, Draw] = {}
        assumed: dict[int, tuple[AssumedRight, int, datetime, datetime]] = {}
        whose: dict[int, AssumedUnits] = {}
        for n, request in enumerate(requests):
            asked = request.allowance
            side = self._sides.get(asked.subscription_id or 0) if asked is not None else None
            if asked is None or side is None or not request.is_plain:
                continue
            feature_id = next((key for key, sold in side.sold.items() if asked.price_id in sold.price_ids), None)
            if feature_id is None:
                continue
            whose[n] = decided = side.units[feature_id]
            metric, start, end = request.usage.metric_id, asked.period.start, asked.period.end
            if decided.basis == ENTITLEMENT:
                real[n] = Draw([(right, metric) for right in decided.rights], start, end)
            elif feature_id in side.assumed:
                assumed[n] = side.assumed[feature_id], metric, start, end
        covered = dict(zip(real, covered_units(list(real.values())), strict=True))
        if assumed:
            covered |= dict(
                zip(assumed, assumed_coverage(list(assumed.values()), usage_of=self._usage_of), strict=True)
            )
        for n, units in covered.items():
            taken = min(units, found[n].quantity)
            if taken:
                found[n] = replace(found[n], covered=taken)
                whose[n].covered = EXACT.add(whose[n].covered, taken)
        return found

    def of(self, invoice: Invoice) -> tuple[AssumedUnits, ...]:
        """Give what a bill assumed, after it was calculated."""
        side = self._sides.get(invoice.subscription.pk)
        return () if side is None else tuple(side.units.values())


def _features_of(revisions: Iterable[PriceRevision]) -> dict[int, Feature]:
    ids = {row.price.feature_id for row in revisions if row.price.feature_id is not None}
    return Feature.objects.filter(type="metered").in_bulk(ids) if ids else {}


def _sold(revisions: Sequence[PriceRevision], features: Mapping[int, Feature]) -> dict[int, _Sold]:
    """Give the metered features of some terms that are drawn on in units; credits cost nothing anyway."""
    found: dict[int, _Sold] = {}
    for row in revisions:
        feature = features.get(row.price.feature_id or 0)
        if feature is None or row.metric is None or not row.bills_usage or row.pricing_unit_id is not None:
            continue
        sold = found.setdefault(feature.pk, _Sold(feature))
        sold.metrics[row.metric.pk] = row.metric
        sold.price_ids.add(row.price_id)
        if sold.template is None:
            sold.template = row.price.entitlement_template
    for sold in found.values():
        try:
            sold.terms = terms_of(sold.feature, sold.template)
        except TemplateError:
            # As for who subscribes: written before the feature became of another type, it gives nothing.
            sold.terms = None
    return found


def _rights_of(
    invoices: Sequence[Invoice], features: Mapping[int, Feature]
) -> tuple[dict[tuple[int, int], list[Entitlement]], dict[int, set[int]]]:
    """Give the rights that customers have, by customer and feature in order of time, and their metrics by right."""
    rights: dict[tuple[int, int], list[Entitlement]] = defaultdict(list)
    metrics: dict[int, set[int]] = defaultdict(set)
    customers = {row.customer.pk for row in invoices if row.customer.pk > 0}
    if not customers:
        return rights, metrics
    rows = Entitlement.objects.filter(customer_id__in=many(customers), feature_id__in=list(features))
    for right in rows.select_related("subscription").order_by("active_from", "pk"):
        rights[right.customer_id, right.right_to_id].append(right)
    pks = [right.pk for known in rights.values() for right in known]
    for right_id, metric_id in EntitlementMeter.objects.filter(entitlement_id__in=many(pks)).values_list(
        "entitlement_id", "metric_id"
    ):
        metrics[right_id].add(metric_id)
    return rights, metrics


def _kept(
    rights: Sequence[Entitlement], metrics: Mapping[int, set[int]], sold: _Sold, invoice: Invoice
) -> tuple[Entitlement, ...]:
    """Give the rights that hold throughout the time of a bill as the terms would have it; none where they do not."""
    start, end = invoice.period_start, invoice.period_end
    found = [
        right
        for right in rights
        if right.active_from < end and (right.active_to is None or right.active_to > start)
        if right.active_to is None or right.active_to > right.active_from
    ]
    upto: datetime | None = start
    for right in found:
        is_as_sold = not right.is_of_plan or right.template == sold.template
        counts_all = sold.metrics.keys() <= metrics[right.pk]
        # A gap: there were none in between.
        is_gapless = upto is not None and right.active_from <= upto
        if not (is_as_sold and counts_all and is_gapless) or right.pool_id is not None or not right.is_metered:
            return ()
        upto = right.active_to
    return tuple(found) if found and (upto is None or upto >= end) else ()
