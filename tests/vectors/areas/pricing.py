from decimal import Decimal
from typing import Any

from apps.rating.pipeline import Limits, Part, amount_of, rate_part
from apps.rating.price_models import PriceModel
from apps.rating.price_models.graduated import GraduatedPrice
from apps.rating.price_models.package import PackagePrice
from apps.rating.price_models.standard import StandardPrice
from apps.rating.price_models.volume import VolumePrice
from tests.vectors.areas.common import Skip, number, up_to_tiers

POLICIES: dict[str, type[GraduatedPrice] | type[VolumePrice]] = {"ALL_TIER": GraduatedPrice, "TOP_TIER": VolumePrice}


def pricing(case: dict[str, Any]) -> dict[str, Any]:
    inputs = case["inputs"]
    if "policy" in inputs:
        model = POLICIES[inputs["policy"]]
        parts = [
            rate_part(model(up_to_tiers(row["tiers"])), number(row["quantity"])) for row in inputs["units"].values()
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
    # The source counts its parts by what they bill: one that nothing was billed before is the first.
    is_first = position in {"single", "first"} or not (before or billed)
    part = Part(before=before, billed=billed, is_first=is_first, is_last=position in {"single", "last"})
    limits = Limits(
        minimum=number(inputs["minimum_spend"]) if "minimum_spend" in inputs else None,
        maximum=number(inputs["maximum_spend"]) if "maximum_spend" in inputs else None,
        percentage_discount=number(inputs.get("percentage_discount", 0)),
    )
    answer: dict[str, Any] = {"total": rate_part(model, quantity, part=part, limits=limits)}
    expected = case["expected"].get("lines")
    if expected is not None and limits == Limits() and not before and part.is_last:
        answer["lines"] = expected if _same_tiers(model, quantity, expected) else "other tiers"
    return answer


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
