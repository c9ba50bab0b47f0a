"""Commitments and caps of plan versions and prices, as billing reads them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import F, Prefetch

from apps.catalog.models import PlanVersion, Price, PriceRevision, SpendTerms
from apps.kernel.rows import join


@dataclass(frozen=True, slots=True)
class SpendAmount:
    """What a period comes to at least or at most, for a full period; without a cadence it is each billing period."""

    amount: Decimal
    cadence: str = ""


# By kind.
Spend = dict[str, SpendAmount]


def spend_terms_of(*, organization_ids: Iterable[int]) -> list[SpendTerms]:
    """Give all commitments and caps of some merchants, with three queries at most, one where there are none."""
    rows = list(SpendTerms.objects.filter(organization_id__in=set(organization_ids)).order_by("pk"))
    join(rows, "plan_version", PlanVersion.objects.all())
    join(rows, "price_revision", PriceRevision.objects.select_related("price", "metric"))
    return rows


def spend_of_version(version: PlanVersion | None) -> Spend:
    """Give what a plan version asks for; nothing of none."""
    return {} if version is None else shown_spend(SpendTerms.objects.filter(plan_version=version))


def spend_of_price(price: Price) -> Spend:
    """Give what a price asks for now."""
    return shown_spend(
        SpendTerms.objects.filter(price_revision__price=price, price_revision__number=price.revision_number)
    )


def with_spend(prefix: str = "") -> "Prefetch[Any, Any, Any]":
    """Give what reads the commitments and caps of the prices of a list along with it.

    Args:
        prefix: lookup from the list's rows to their prices.
    """
    current = PriceRevision.objects.filter(number=F("price__revision_number")).prefetch_related("spend_terms")
    return Prefetch(f"{prefix}revisions", current, to_attr="current_revisions")


def shown_spend_of_price(price: Any) -> Spend:
    """Give what a price asks for now, without a query where it was read along."""
    if not hasattr(price, "current_revisions"):
        return spend_of_price(price)
    return shown_spend(row for revision in price.current_revisions for row in revision.spend_terms.all())


def shown_spend(rows: Iterable[SpendTerms]) -> Spend:
    """Give commitments and caps by kind."""
    return {row.kind: SpendAmount(row.amount, row.cadence) for row in rows}
