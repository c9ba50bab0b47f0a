"""The parts of a charge: where a subscription's price or quantity changes within its period."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from apps.catalog.models import PriceRevision
from apps.invoicing.domain.charges import Charge
from apps.invoicing.selectors.shares import part_share, share_of
from apps.kernel.time import Cadence, Period
from apps.rating.adjustments import QuantityTerms
from apps.rating.grouped import AnyPrice, parse_price
from apps.rating.price_models.standard import StandardPrice
from apps.rating.splits import FeePart, split_terms
from apps.subscriptions.domain.timeline import Part, Terms, Timeline
from apps.subscriptions.models import Subscription


class ChargePart(msgspec.Struct, frozen=True):
    """A time of a charge in which price and quantity stay the same.

    Attributes:
        price: what is put on the usage, or on the quantity.
        quantity: of a fee, for its full period.
        source: id of the interval that the price comes from; empty: the catalogue's.
    """

    period: Period
    price: AnyPrice
    quantity: Decimal
    source: str = ""


def parts_of(
    subscription: Subscription,
    timeline: Timeline,
    charge: Charge,
    revision: PriceRevision,
    catalogue: AnyPrice | None = None,
) -> list[ChargePart]:
    """Give the parts of a charge in order of time; none where its price is closed.

    A fee that is charged once, an obligation, and any fee of a plan that never prorates is not split: what holds at
    its beginning holds for all of it.

    Args:
        catalogue: the price that the revision says, where it is read already.
    """
    catalogue = catalogue or parse_price(revision.model, revision.properties)
    if timeline.is_plain:
        return [ChargePart(charge.service, catalogue, Decimal(revision.quantity))]
    parts = timeline.parts_of_price(
        revision.price_id,
        charge.service,
        due_at=charge.due_at,
        is_in_advance=revision.is_prepaid,
        own_key=charge.own_key,
    )
    if parts and not is_split(subscription, revision):
        parts = [Part(charge.service, parts[0].terms)]
    found: list[ChargePart] = []
    for part in parts:
        price, source = _price(catalogue, part.terms)
        quantity = Decimal(revision.quantity) if part.terms.quantity is None else part.terms.quantity
        before = found[-1] if found else None
        is_same = before is not None and (before.price, before.quantity) == (price, quantity)
        if before is not None and is_same and before.period.end == part.period.start:
            found[-1] = ChargePart(Period(before.period.start, part.period.end), price, quantity, before.source)
        else:
            found.append(ChargePart(part.period, price, quantity, source))
    return found


def is_split(subscription: Subscription, revision: PriceRevision) -> bool:
    """Whether a change within a period of a price is billed from its day on, not from the next period on."""
    if revision.bills_usage:
        return True
    is_once = revision.billing_cadence != "" and Cadence.parse(revision.billing_cadence).is_once
    return not (is_once or revision.is_obligation or subscription.plan.proration == "none")


def fee_parts(
    subscription: Subscription,
    charge: Charge,
    revision: PriceRevision,
    parts: Sequence[ChargePart],
    terms: QuantityTerms | None,
) -> list[FeePart]:
    """Give the parts of a fee with what each is worth; what is paused all of its time is left out, but for one."""
    if len(parts) == 1 and parts[0].period == charge.service:
        shares = [share_of(subscription, charge, revision)]
    else:
        shares = [part_share(subscription, charge, part.period) for part in parts]
    worth = [(part, share) for part, share in zip(parts, shares, strict=True) if share] or [(parts[0], Fraction(0))]
    agreed = split_terms(terms, [part.quantity for part, _ in worth], [share for _, share in worth])
    return [
        FeePart(part.price, part.quantity, part.period, share, known)
        for (part, share), known in zip(worth, agreed, strict=True)
    ]


def _price(catalogue: AnyPrice, terms: Terms) -> tuple[AnyPrice, str]:
    """Give the price that terms put in the place of the catalogue's, and where it comes from."""
    if terms.unit_price is None:
        return catalogue, ""
    price = StandardPrice(terms.unit_price)
    return (catalogue, "") if price == catalogue else (price, terms.source)
