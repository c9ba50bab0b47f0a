"""Terms to be simulated: those of a plan's version, or of a draft that is checked by all rules and never saved."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from apps.catalog.models import Plan, PlanVersion, PlanVersionPrice, Price, PriceRevision
from apps.catalog.selectors.terms import current_revision_ids, revisions_by_id
from apps.catalog.services.price_rules import check_price
from apps.catalog.services.prices import REVISED
from apps.invoicing.selectors.simulated import Offer
from apps.kernel.errors import FieldError, InvalidError, NotFoundError


def version_offer(*, plan: Plan, number: int | None = None) -> Offer:
    """Give the terms of a version of a plan as they are now; without a number, of the one that it sells.

    Raises:
        NotFoundError: the plan has no such version.
    """
    if number is None:
        version_id = plan.default_version_id
    else:
        version_id = PlanVersion.objects.filter(plan=plan, number=number).values_list("pk", flat=True).first()
    if version_id is None:
        raise NotFoundError(f"The plan has no version {number}.")
    ids = current_revision_ids(plan_version_id=version_id)
    rows = revisions_by_id(ids)
    slots = PlanVersionPrice.objects.filter(plan_version_id=version_id)
    return Offer(plan, tuple(rows[key] for key in ids), dict(slots.values_list("price_id", "key")))


def draft_offer(*, plan: Plan, prices: Sequence[Price]) -> Offer:
    """Give the terms of a plan that is only thought of.

    Args:
        plan: what is not a price; saved or not. Without a product it is of the prices'.
        prices: saved ones, as they are now, and unsaved ones.

    Raises:
        InvalidError: a price would be refused, alone or beside the others; bad fields are named as `prices.0.…`.
    """
    errors: list[FieldError] = []
    seen: set[int] = set()
    product_id: int | None = plan.product_id
    for index, price in enumerate(prices):
        path = f"prices.{index}"
        if price.pk is None:
            errors.extend(_problems(price, path))
        parent = price.metric or price.fee
        own = parent.product_id if parent is not None else None
        product_id = product_id or own
        if own is not None and own != product_id:
            errors.append(FieldError(path, "The price belongs to another product.", "invalid"))
        if price.metric_id is not None and price.metric_id in seen:
            errors.append(FieldError(path, "The plan prices this metric twice.", "duplicate"))
        if price.metric_id is not None:
            seen.add(price.metric_id)
    if errors:
        raise InvalidError("The draft's prices do not fit.", errors=errors)
    if product_id is not None:
        plan.product_id = product_id
    saved = _current_revisions([price for price in prices if price.pk is not None])
    return Offer(
        plan,
        tuple(
            saved[price.pk] if price.pk is not None else _unsaved_revision(number, price)
            for number, price in enumerate(prices, start=1)
        ),
    )


def _problems(price: Price, path: str) -> list[FieldError]:
    try:
        check_price(price)
    except InvalidError as error:
        return [FieldError(f"{path}.{problem.field}", problem.message, problem.code) for problem in error.errors]
    return []


def _current_revisions(prices: Sequence[Price]) -> dict[int, PriceRevision]:
    known = {(price.pk, price.revision_number) for price in prices}
    rows = PriceRevision.objects.select_related("price", "metric", "fee").filter(price__in=[p.pk for p in prices])
    return {row.price_id: row for row in rows if (row.price_id, row.number) in known}


def _unsaved_revision(number: int, price: Price) -> PriceRevision:
    """Give the terms of a draft's price; the negative key names no stored row."""
    price.pk, price.public_id = -number, f"draft-{number}"
    row = PriceRevision(pk=-number, price=price, number=0, **{name: getattr(price, name) for name in REVISED})
    row.metric, row.fee = price.metric, price.fee
    return row


def changed_offer(offer: Offer, changes: Mapping[int, tuple[str, Any]]) -> Offer:
    """Give an offer with other models and properties for some of its prices, checked as a draft is.

    Args:
        offer: the terms to begin with.
        changes: model and properties by the price's place in the offer.

    Raises:
        InvalidError: a price would be refused; bad fields are named as `prices.0.…`.
    """
    draft = draft_offer(
        plan=offer.plan,
        prices=[
            _copy(row, *changes[place]) if place in changes else row.price
            for place, row in enumerate(offer.revisions)
        ],
    )
    pairs = zip(offer.revisions, draft.revisions, strict=True)
    # What was agreed of a line holds for its changed price.
    return replace(draft, lines={new.price_id: offer.lines.get(old.price_id, "") for old, new in pairs})


def _copy(row: PriceRevision, model: str, properties: Any) -> Price:
    terms = {name: getattr(row, name) for name in REVISED} | {"model": model, "properties": properties}
    return Price(
        organization_id=row.price.organization_id,
        metric=row.metric,
        fee=row.fee,
        feature_id=row.price.feature_id,
        entitlement_template=row.price.entitlement_template,
        outside_scope_label=row.price.outside_scope_label,
        **terms,
    )
