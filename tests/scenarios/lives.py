"""What calendars of whole lives have in common: a shop with plans, and bills as one reads them."""

from decimal import Decimal
from typing import Any

from apps.catalog.models import Plan
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.world import World


class Shop:
    """A product whose plans have a fee in advance and usage of one metric, on one test clock."""

    def __init__(self, world: World, at: str) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product)
        self.clock = world.clock(at)

    def plan(
        self, name: str, fee: str, usage: str = "1", *, credits: bool = False, every: str = "P1M",
        fee_every: str = "", usage_terms: dict[str, Any] | None = None, **extra: Any,
    ) -> str:  # fmt: skip
        prices = [
            self.world.fee_price(self.product, fee, billingCadence=fee_every or every, invoiceDisplayName="Fee"),
            self.world.usage_price(self.metric, usage, **(usage_terms or {})),
        ]
        plan = self.world.plan(self.product, prices, name=name, billingCadence=every, **extra)
        Plan.objects.filter(public_id=plan).update(credit_unused_at_end=credits)
        return plan

    def start(self, plan: str, at: str, *, customer: str = "", **extra: Any) -> str:
        subscription = self.world.subscribe(customer or self.world.customer(), plan, at=at, clock=self.clock, **extra)
        if "payment" in subscription:
            self.world.pay(subscription["payment"]["invoiceId"])
        return str(subscription["id"])

    def do(self, subscription: str, what: str, expect: int = 200, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.post(f"/v0/subscriptions/{subscription}/{what}", body, expect=expect)
        return found

    def pause(self, subscription: str, start: str, end: str) -> None:
        """Pause from one midnight to another."""
        for day, what in ((start, "pause"), (end, "resume")):
            self.advance(f"{day}T00:00:00Z")
            self.do(subscription, what)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def follower(self, subscription: str) -> str:
        return Subscription.objects.get(replaces__public_id=subscription).public_id

    def bills(self, subscription: str) -> list[list[tuple[str, str]]]:
        """Give names and amounts of the lines of each calculated bill; each adds up, and can be computed again."""
        found = []
        for invoice in self.world.invoices(subscription):
            if invoice["status"] not in {"ISSUED", "PAID"}:
                continue
            lines = self.world.lines(invoice["id"])
            for line in lines:
                assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
            assert sum(Decimal(line["totalPrice"]) for line in lines) == Decimal(invoice["subtotal"])
            found.append([(line["invoiceDisplayName"], line["totalPrice"]) for line in lines])
        return found

    def totals(self, subscription: str) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(subscription) if i["status"] in {"ISSUED", "PAID"}]
