from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from apps.invoicing.domain.targets import TargetLine
from apps.kernel.money import EXACT, format_decimal, format_money
from apps.taxes.domain.treatment import Component, Treatment

ZERO = Decimal(0)


def own_tax_rate(
    customer_rates: Mapping[str, object], *, metric_public_id: str | None, plan_public_id: str
) -> Decimal | None:
    """Give the percent that was set for a customer: for the metric, the plan, or everything; None if none was."""
    for key in (metric_public_id, plan_public_id, "default"):
        if key is not None and customer_rates.get(key) is not None:
            return Decimal(str(customer_rates[key]))
    return None


def tax_rate_for(
    *,
    is_exempt: bool,
    is_in_scope: bool,
    customer_rates: Mapping[str, object],
    metric_public_id: str | None,
    plan_public_id: str,
    plan_rate: Decimal,
) -> Decimal:
    """Give the percent that applies to a line where no registration decides.

    The first that speaks decides: exemption, a supply outside the scope of tax, the customer's rate for the
    metric, for the plan, its default, then the plan's.
    """
    if is_exempt or not is_in_scope:
        return ZERO
    own = own_tax_rate(customer_rates, metric_public_id=metric_public_id, plan_public_id=plan_public_id)
    return plan_rate if own is None else own


def tax_point(line: TargetLine, timezone: str) -> date:
    """Give the day whose rates tax a line: what is prepaid is taxed as its service begins, the rest as it ends.

    Args:
        timezone: of the subscription, in which documents give the days of its service.
    """
    if line.is_prepaid or line.period_end <= line.period_start:
        moment = line.period_start
    else:
        # A service up to midnight ended on the day before.
        moment = line.period_end - timedelta(microseconds=1)
    return moment.astimezone(ZoneInfo(timezone)).date()


def keeps_its_tax(line: TargetLine) -> bool:
    """Whether a line gives back what was billed with its tax, which is given back as it was."""
    return line.kind == "adjustment" and line.stored_id is not None and line.gross < 0


class TaxedLine(Protocol):
    """What of a line, worked out or stored, its tax is read from."""

    @property
    def subtotal(self) -> Decimal: ...

    @property
    def tax_rate(self) -> Decimal: ...

    @property
    def decision(self) -> Treatment | None: ...

    @property
    def taxes(self) -> Sequence[Decimal]: ...


@dataclass(frozen=True, slots=True)
class TaxShare:
    """What the lines of a document come to in one category and one tax.

    Attributes:
        category: code of EN 16931; empty where it was not decided by a registration.
        component: None where nothing is owed.
        net: of the lines that carry it; lines with several taxes are in each of theirs.
        reason: why nothing is owed, or where it is.
    """

    category: str
    component: Component | None
    net: Decimal
    tax: Decimal
    reason: str
    reason_code: str


def tax_shares(lines: Sequence[TaxedLine]) -> list[TaxShare]:
    """Give the taxes of a document, each on the lines that carry it; their amounts sum to its tax."""
    found: dict[tuple[str, Component | None, str], TaxShare] = {}
    for line in lines:
        decision = line.decision
        if decision is None:
            rows = [Component("Tax", "", line.tax_rate)] if line.tax_rate else []
            category, reason, code = "", "", ""
        else:
            rows = list(decision.components)
            category, reason, code = decision.category, decision.reason, decision.reason_code
        shares: list[tuple[Component | None, Decimal]] = [*zip(rows, line.taxes, strict=True)] or [(None, ZERO)]
        for component, tax in shares:
            key = (category, component, reason)
            known = found.get(key) or TaxShare(category, component, ZERO, ZERO, reason, code)
            found[key] = replace(known, net=EXACT.add(known.net, line.subtotal), tax=EXACT.add(known.tax, tax))
    return list(found.values())


def tax_in_words(line: TaxedLine, currency: str) -> list[str]:
    """Explain the tax of a line: what was decided and why, and its share of each of the document's taxes."""
    decision = line.decision
    if decision is None:
        if not line.tax_rate:
            return ["no tax, by the settings of plan and customer"]
        rows = [Component("tax", "", line.tax_rate)]
        said = ["by the settings of plan and customer"]
    else:
        rows, said = list(decision.components), [decision.reason]
        if decision.buyer_tax_id:
            said.append(f"the customer's tax id: {decision.buyer_tax_id}")
        if not rows:
            return said
    for component, tax in zip(rows, line.taxes, strict=True):
        name = " ".join(part for part in (component.jurisdiction, component.name) if part)
        percent, amount = format_decimal(component.percent), format_money(tax, currency)
        said.append(
            f"its share of {name} {percent} % on the sum of the lines that have it \N{RIGHTWARDS ARROW} {amount}"
        )
    return said
