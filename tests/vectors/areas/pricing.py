"""Prices of a period, whole or billed in parts, by the product's lines, differences, caps and commitments."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from apps.invoicing.domain.early import BilledEarly, less_billed_early
from apps.invoicing.domain.settling import Label, Settling, with_cap, with_true_ups
from apps.invoicing.domain.spend import CAP, CHARGE, COMMITMENT, Entry, Span, SpendRule, Timeline, find_role
from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import round_money
from apps.kernel.time import Cadence, Period
from apps.rating.adjustments import Discount, less
from apps.rating.lines import rate_usage
from apps.rating.price_models import PriceModel, amount_of
from apps.rating.price_models.graduated import GraduatedPrice
from apps.rating.price_models.package import PackagePrice
from apps.rating.price_models.standard import StandardPrice
from apps.rating.price_models.volume import VolumePrice
from apps.rating.usage import Usage
from tests.vectors.areas.common import Skip, number, priced, up_to_tiers

PERIOD = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
POLICIES: dict[str, type[GraduatedPrice] | type[VolumePrice]] = {"ALL_TIER": GraduatedPrice, "TOP_TIER": VolumePrice}


def pricing(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "policy" in inputs:
        model = POLICIES[inputs["policy"]]
        parts = [
            priced(model(up_to_tiers(row["tiers"])), number(row["quantity"])) for row in inputs["units"].values()
        ]
        return {"total": sum(parts, Decimal(0))}
    if "price" not in inputs or inputs.get("usage_discount"):
        raise Skip("usage of a period is one line, so units waived are not shared out")
    price = inputs["price"]
    position = inputs.get("line_position", "single")
    if price["type"] == "flat":
        return {"total": _flat(price, position)}
    model = _model(price)
    quantity, before = number(inputs.get("quantity", 0)), number(inputs.get("pre_line_quantity", 0))
    billed = number(inputs.get("previously_billed", 0))
    is_last = position in {"single", "last"}
    if not model.IS_PROGRESSIVE and not is_last:
        raise Skip("the source bills a volume price with its last part; ours bills what it comes to so far")
    discounts = [Discount("d", "Discount", number(inputs.get("percentage_discount", 0)) / 100)]
    line = _line(model, before + quantity, discounts)
    # The source counts its parts by what they bill: one that nothing was billed before is the first.
    if model.IS_PROGRESSIVE and position not in {"single", "first"} and (before or billed):
        earlier = _line(model, before, discounts)
        (line,) = less_billed_early([line], {"usage": BilledEarly(earlier.gross, earlier.quantity, earlier, 1)})
    lines = [line]
    if "maximum_spend" in inputs:
        lines = with_cap(lines, _settling(CAP, number(inputs["maximum_spend"]), billed), price_id=1)
    if "minimum_spend" in inputs and is_last:
        lines = with_true_ups(lines, _settling(COMMITMENT, number(inputs["minimum_spend"]), billed), price_id=1)
    answer: dict[str, Any] = {"total": sum((one.gross for one in lines), Decimal(0))}
    expected = case["expected"].get("lines")
    if expected is not None and len(lines) == 1 and not before and is_last and not inputs.get("percentage_discount"):
        answer["lines"] = expected if _same_tiers(model, quantity, expected) else "other tiers"
    return answer


def _line(model: PriceModel, quantity: Decimal, discounts: list[Discount]) -> TargetLine:
    """Give the line of a quantity of a period so far, percentages off."""
    rated = rate_usage(
        price=model, usage=Usage(quantity), currency="USD", period=PERIOD, sources={}, calculated_at=PERIOD.end
    )
    gross = round_money(less(rated.exact, discounts), "USD")
    return TargetLine(
        kind="metered", reference="usage", display_name="Usage", payment_term="in_arrears", period_start=PERIOD.start,
        period_end=PERIOD.end, quantity=rated.quantity, unit_price=rated.unit_price, gross=gross, tax_rate=Decimal(0),
        provenance=rated.provenance, price_revision_id=1,
    )  # fmt: skip


def _settling(kind: str, amount: Decimal, billed: Decimal) -> Settling:
    """Give the bound of one price in one period of which other invoices billed something."""
    rule = SpendRule(kind, 1, amount, Cadence.parse("P1M"))

    def entry_of(line: TargetLine) -> Entry | None:
        role = find_role(line.kind, line.reference, has_price=True)
        return None if role is None else Entry(role, 1, 1, line.period_start, line.gross)

    return Settling(
        line=Timeline([Span(rule, PERIOD, PERIOD)], PERIOD.start, PERIOD.end),
        share=lambda span: Fraction(1),
        earlier=[Entry(CHARGE, 1, 1, PERIOD.start, billed)],
        entry_of=entry_of,
        is_due=lambda span: True,
        label=lambda key: Label("price", "Price", Decimal(0), 1),
        currency="USD",
    )


def _flat(price: dict[str, Any], position: str) -> Decimal:
    """A fixed charge falls due at the start or at the end of its period, so with its first or its last part."""
    billed_with = {"in_advance": {"single", "first"}, "in_arrears": {"single", "last"}}[
        price.get("term", "in_arrears")
    ]
    return number(price["amount"]) if position in billed_with else Decimal(0)


def _model(price: dict[str, Any]) -> PriceModel:
    match price["type"]:
        case "unit":
            return StandardPrice(number(price["amount"]))
        case "dynamic":
            # Theirs marks up what usage cost; here the metric sums the cost and each unit of it costs the multiplier.
            return StandardPrice(number(price["multiplier"]))
        case "package":
            if price.get("round", "up") != "up":
                raise Skip("a started package is sold whole")
            return PackagePrice(number(price["amount"]), number(price["size"]))
        case "graduated":
            return GraduatedPrice(up_to_tiers(price["tiers"]))
        case "volume":
            return VolumePrice(up_to_tiers(price["tiers"]))
        case other:
            raise Skip(f"price type {other} is not built yet")


def _same_tiers(model: PriceModel, quantity: Decimal, expected: list[dict[str, Any]]) -> bool:
    """Compare tier by tier: the source writes units and flat fee of a tier as two lines, we as one component."""
    wanted: dict[str, Decimal] = {}
    for line in expected:
        tier = f"tier {line['tier']}" if "tier" in line else "other"
        wanted[tier] = wanted.get(tier, Decimal(0)) + number(line["total"])
    found: dict[str, Decimal] = {}
    for component in model.components(quantity):
        tier = component.label if component.label.startswith("tier") else "other"
        found[tier] = found.get(tier, Decimal(0)) + amount_of([component])
    return {t: v for t, v in wanted.items() if v} == {t: v for t, v in found.items() if v}
