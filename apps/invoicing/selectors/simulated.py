"""What is simulated, and what comes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from apps.catalog.models import Plan, PriceRevision
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine, Totals
from apps.invoicing.selectors.simulated_rights import BASES, ENTITLEMENT, TEMPLATE, AssumedUnits
from apps.kernel.time import Period

ASSUMED = {
    ENTITLEMENT: "Entitlements that customers have by these terms, or by hand, cover usage as they did: with their"
    " grants, resets and what was used before.",
    TEMPLATE: "Where a customer has none, the template of the terms decides: an entitlement that is full when the"
    " simulated time begins, without grants, and resets from there on.",
}
SPREAD = "Made-up usage comes evenly over the period."


@dataclass(frozen=True, slots=True)
class Offer:
    """The terms that are simulated: a plan with price revisions; either may be unsaved.

    Attributes:
        lines: by the key of a price, which line of the plan it is; empty: as the plan has it.
    """

    plan: Plan
    revisions: tuple[PriceRevision, ...]
    lines: Mapping[int, str] = field(default_factory=dict)

    def lines_for(self, plan_id: int, known: Mapping[int, str]) -> dict[int, str]:
        """Give which line each of its prices (its key) is for a subscriber.

        Args:
            plan_id: key of the plan that the subscriber has.
            known: which line of it a price is.
        """
        own = self.lines if plan_id == self.plan.pk else {}
        return lines_of(self.revisions, {**known, **own})


@dataclass(frozen=True, slots=True)
class SimulatedBill:
    """What one customer would have been billed in the interval.

    Attributes:
        customer: None for usage that nobody had.
        compared: what it is compared with; None where there is nothing to compare with.
        compared_lines: the lines of that, where they are calculated as well.
        units: what rights to features took off usage, and by which terms.
        compared_units: likewise, where the comparison is calculated.
    """

    customer: Customer | None
    lines: tuple[TargetLine, ...]
    totals: Totals
    compared: Totals | None = None
    compared_lines: tuple[TargetLine, ...] = ()
    units: tuple[AssumedUnits, ...] = ()
    compared_units: tuple[AssumedUnits, ...] = ()

    @property
    def difference(self) -> Decimal | None:
        """What the customer would pay more, without tax; negative is less."""
        return None if self.compared is None else self.totals.subtotal - self.compared.subtotal


@dataclass(frozen=True, slots=True)
class Simulation:
    """Bills under simulated terms: who would pay most more first, those without a comparison last."""

    offer: Offer
    period: Period
    comparison: str
    bills: tuple[SimulatedBill, ...]

    @property
    def compared_bills(self) -> list[SimulatedBill]:
        return [bill for bill in self.bills if bill.compared is not None]

    @property
    def total(self) -> Decimal:
        """What all bills come to, without tax."""
        return sum((bill.totals.subtotal for bill in self.bills), Decimal(0))

    @property
    def difference(self) -> Decimal:
        """What those that can be compared would pay more together, without tax."""
        return sum((bill.difference or Decimal(0) for bill in self.bills), Decimal(0))

    @property
    def compared_total(self) -> Decimal:
        """What those that can be compared pay now, without tax."""
        return sum((bill.compared.subtotal for bill in self.bills if bill.compared is not None), Decimal(0))

    @property
    def bases(self) -> set[str]:
        """What decides about the units that rights took off usage, on either side."""
        return {units.basis for bill in self.bills for units in (*bill.units, *bill.compared_units)}

    def counted(self) -> dict[str, int]:
        """Count who pays more, less and the same, and who cannot be compared."""
        found = {"more": 0, "less": 0, "same": 0, "notCompared": 0}
        for bill in self.bills:
            change = bill.difference
            name = "notCompared" if change is None else "more" if change > 0 else "less" if change < 0 else "same"
            found[name] += 1
        return found


def assumptions_of(made: Simulation) -> list[str]:
    """Say what a simulation assumed of rights to features, for those who read it."""
    found = [ASSUMED[basis] for basis in BASES if basis in made.bases]
    is_given = bool(made.bills) and made.bills[0].customer is None
    return [*found, SPREAD] if found and is_given else found


def lines_of(revisions: Sequence[PriceRevision], lines: Mapping[int, str]) -> dict[int, str]:
    """Keep which line of a plan its prices are for those of some terms."""
    return {row.price_id: lines[row.price_id] for row in revisions if row.price_id in lines}
