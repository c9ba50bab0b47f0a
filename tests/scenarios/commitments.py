"""A subscription whose periods have a least and a most."""

from decimal import Decimal
from typing import Any

from apps.invoicing.models import Invoice
from apps.rating.reading import recompute
from tests.world import World

JANUARY = "2026-01-01T00:00:00Z"


class Case:
    """A subscription on usage at 1.00 a token, and on a fee where one is given."""

    def __init__(
        self,
        world: World,
        *,
        fee: dict[str, Any] | None = None,
        usage: dict[str, Any] | None = None,
        started: str = JANUARY,
        **plan: Any,
    ) -> None:
        self.world = world
        self.product = world.product()
        self.metric = world.metric(self.product)
        self.usage = world.usage_price(self.metric, **{"unit_price": "1", **(usage or {})})
        self.prices = [self.usage]
        if fee is not None:
            self.prices.append(world.fee_price(self.product, **{"amount": "30.00", **fee}))
        self.plan = world.plan(self.product, self.prices, **plan)
        self.customer = world.customer()
        self.clock = world.clock(started)
        made = world.subscribe(self.customer, self.plan, at=started, clock=self.clock)
        self.id = made["id"]
        if "payment" in made:
            world.pay(made["payment"]["invoiceId"])
        self.path = f"/v0/subscriptions/{self.id}"

    def invoices(self) -> list[dict[str, Any]]:
        """Give the invoices of the periods, the first one's first."""
        return [row for row in self.world.invoices(self.id) if row["sequenceNumber"]]

    def lines(self, number: int) -> list[tuple[str, str]]:
        """Give names and amounts of the n-th period's invoice, each recomputed from what it keeps."""
        found = self.world.lines(self.invoices()[number - 1]["id"])
        for line in found:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in found]

    def use(self, moment: str, tokens: int, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)

    def void(self, key: str) -> None:
        self.world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": [key]}, expect=200)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def billed(self) -> Decimal:
        """Give what all issued invoices come to."""
        rows = Invoice.objects.filter(subscription__public_id=self.id, number__isnull=False)
        return sum((row.grand_total for row in rows), Decimal(0))


def agree(case: Case, expect: int = 201, **terms: Any) -> dict[str, Any]:
    body = {"type": "minimumCommitment", "effectiveFrom": JANUARY, **terms}
    found: dict[str, Any] = case.world.api.post(f"{case.path}/spendAgreements", body, expect=expect)
    return found
