from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from apps.kernel.money import format_decimal
from apps.rating.price_models import PriceModel, TransactionPriceModel, amount_of, components_of, count
from apps.rating.price_models.dynamic import DynamicPrice
from apps.rating.price_models.graduated import GraduatedPrice
from apps.rating.price_models.graduated_percentage import GraduatedPercentagePrice
from apps.rating.price_models.package import PackagePrice
from apps.rating.price_models.percentage import PercentagePrice
from apps.rating.price_models.standard import StandardPrice
from apps.rating.price_models.tiers import Tier
from apps.rating.price_models.volume import VolumePrice
from apps.rating.quantities import round_quantity
from apps.rating.tax import tax_lines
from apps.rating.usage import Transaction, Usage
from tests.vectors.areas.common import Skip, cents, inclusive_tiers, number, priced


def _answers(amount: Decimal, inputs: dict[str, Any]) -> dict[str, Any]:
    rate = number(inputs.get("tax_rate_percent", 0))
    taxed = tax_lines([number(cents(amount)) / 100], [rate], currency="USD", is_inclusive=False)[0]
    return {
        "amount": amount,
        "amount_cents": cents(amount),
        "tax_cents": cents(taxed.tax),
        "total_cents": cents(taxed.net + taxed.tax),
    }


def _rated(price: PriceModel, inputs: dict[str, Any]) -> dict[str, Any]:
    return _answers(priced(price, number(inputs["units"])), inputs)


def standard(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "filters" in inputs:
        fees = [
            cents(priced(StandardPrice(number(row["unit_price"])), number(row["units"]))) for row in inputs["filters"]
        ]
        return {"fee_cents": fees, "total_cents": sum(fees)}
    if "unit_price" not in inputs or "units" not in inputs:
        raise Skip("inputs of another shape")
    return _rated(StandardPrice(number(inputs["unit_price"])), inputs)


def graduated(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "tier" in inputs:
        tier = inputs["tier"]
        own = Tier(number(tier["upper_inclusive"]), number(tier["unit"]), number(tier["flat"]))
        return _second_tier(GraduatedPrice, number(tier["lower_exclusive"]), own, number(inputs["units"]))
    return _rated(GraduatedPrice(inclusive_tiers(inputs["tiers"])), inputs)


def _second_tier(model: type[GraduatedPrice], below: Decimal, tier: Tier, quantity: Decimal) -> dict[str, Any]:
    """Give what one tier comes to, between a free one up to `below` and a free one after it."""
    free = Decimal(0)
    price = model((Tier(below, free, free), tier, Tier(None, free, free)))
    part = price.components(quantity)[1]
    return {"tier_units": part.quantity, "tier_amount": part.amount}


def volume(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "units" not in inputs:
        raise Skip(
            "levels are averaged and the tier is that of the average; no price takes a full and a prorated quantity"
        )
    tiers = inclusive_tiers(inputs["tiers"])
    if number(inputs["units"]) == 0 and tiers[0].flat:
        raise Skip("flat fee at zero units")
    return _rated(VolumePrice(tiers), inputs)


def package(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    price = PackagePrice(
        number(inputs["package_price"]), number(inputs["package_size"]), number(inputs.get("free_units") or 0)
    )
    return _rated(price, inputs)


def _of_events(price: TransactionPriceModel, events: Sequence[Transaction]) -> Decimal:
    quantity = sum((event.value for event in events), Decimal(0))
    return amount_of(components_of(price, Usage(quantity, count(price, events))))


def percentage(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]

    def known(name: str) -> Decimal | None:
        return None if inputs.get(name) is None else number(inputs[name])

    price = PercentagePrice(
        percentage=number(inputs["rate_percent"]) / 100,
        minimum=known("min_per_transaction"),
        maximum=known("max_per_transaction"),
        fixed=number(inputs["fixed_per_paid_event"]),
        free_events=inputs["free_events"],
        free_amount=known("free_amount"),
    )
    events = [Transaction(number(value)) for value in inputs["events"]]
    running = [cents(_of_events(price, events[: n + 1])) for n in range(len(events))]
    return {**_answers(_of_events(price, events), inputs), "running_total_cents": running}


def graduated_percentage(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "tier" in inputs:
        tier = inputs["tier"]
        own = Tier(number(tier["to"]), number(tier["rate"]) / 100, number(tier["flat"]))
        # Theirs begins with its first whole unit.
        below = number(tier["from"]) - 1
        return _second_tier(GraduatedPercentagePrice, below, own, number(inputs["amount_aggregated"]))
    price = GraduatedPercentagePrice(inclusive_tiers(inputs["tiers"], price="rate"))
    return _answers(priced(price, number(inputs["amount_aggregated"])), inputs)


def dynamic(case: dict[str, Any]) -> dict[str, Any]:
    """Translate: an event's whole amount is the price of its one unit."""
    inputs = case["inputs"]
    events = [Transaction(Decimal(1), number(amount) / 100) for amount in inputs["event_amounts_cents"]]
    return _answers(_of_events(DynamicPrice(Decimal(0), Decimal(10**6)), events), inputs)


def rounding(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    rounded = round_quantity(number(inputs["units"]), function=inputs["function"], precision=inputs["precision"])
    return {"units": number(format_decimal(rounded))}
