"""Where the figures of a line come from, as its provenance names it."""

from collections.abc import Sequence

from apps.catalog.models import BillableMetric, PriceRevision
from apps.invoicing.models import Invoice
from apps.invoicing.selectors.parts import ChargePart
from apps.kernel.time import format_instant


def sources_of(
    revision: PriceRevision, invoice: Invoice, parts: Sequence[ChargePart] = (), part: ChargePart | None = None
) -> dict[str, object]:
    """Name where a line's figures come from, for its provenance.

    Args:
        parts: of the charge.
        part: the one that the line bills, if it is not all of it.
    """
    return {**fixed_sources(revision, invoice.currency, parts, part), "period": period_source(invoice)}


def period_source(invoice: Invoice) -> dict[str, object]:
    """Name the calendar that its periods follow."""
    subscription = invoice.subscription
    anchor = format_instant(subscription.billing_anchor)
    return {"type": "billingPeriod", "ref": {"subscriptionId": subscription.public_id, "anchor": anchor}}


def fixed_sources(
    revision: PriceRevision, currency: str, parts: Sequence[ChargePart], part: ChargePart | None
) -> dict[str, object]:
    """Give those of `sources_of` that are the same for every subscriber."""
    sources: dict[str, object] = {
        "price": {
            "type": "price",
            "ref": {"priceId": revision.price.public_id, "revision": revision.number},
            "asUsed": {"model": revision.model, "properties": revision.properties},
        },
        "currency": {"type": "currency", "ref": {"currency": currency}},
    }
    metric = revision.metric
    if metric is not None and revision.bills_usage:
        sources["usage"] = {
            "type": "meter",
            "ref": {"billableMetricId": metric.public_id},
            "asUsed": {
                "aggregation": metric.aggregation,
                "eventType": metric.event_type,
                "valueProperty": metric.value_property,
                **_rounding(metric),
            },
        }
    elif metric is not None:
        sources["quantity"] = {"type": "flatMetric", "ref": {"billableMetricId": metric.public_id}}
    if part is not None and part.source:
        sources["interval"] = {"type": "priceInterval", "ref": {"intervalId": part.source}}
    if len(parts) > 1:
        start, end = parts[0].period.start, parts[-1].period.end
        sources["split"] = {"type": "parts", "ref": {"start": format_instant(start), "end": format_instant(end)}}
    return sources


def _rounding(metric: BillableMetric) -> dict[str, object]:
    if not metric.rounding_function:
        return {}
    return {"rounding": {"function": metric.rounding_function, "precision": metric.rounding_precision}}
