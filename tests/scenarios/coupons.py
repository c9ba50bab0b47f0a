"""A subscription that coupons are tried on."""

from decimal import Decimal
from typing import Any

from apps.rating.reading import recompute
from tests.world import World

JANUARY = "2026-01-01T00:00:00Z"


class Case:
    """A subscription from 1 January on a fee of 30.00 in arrears and usage at 1.00 a token."""

    def __init__(self, world: World, *, fee: dict[str, Any] | None = None, **plan: Any) -> None:
        self.world = world
        self.product = world.product()
        self.metric = world.metric(self.product)
        self.usage = world.usage_price(self.metric, "1")
        self.fee = world.fee_price(self.product, "30.00", **(fee or {"paymentTerm": "in_arrears"}))
        self.plan = world.plan(self.product, [self.usage, self.fee], **plan)
        self.customer = world.customer()
        self.clock = world.clock(JANUARY)
        self.id = ""

    def begin(self) -> "Case":
        self.id = self.world.subscribe(self.customer, self.plan, at=JANUARY, clock=self.clock)["id"]
        return self

    def coupon(self, code: str, *, expect: int = 201, **terms: Any) -> dict[str, Any]:
        body = {"merchantId": self.world.id, "code": code, "name": f"Deal {code}", "duration": "forever", **terms}
        found: dict[str, Any] = self.world.api.post("/v0/coupons", body, expect=expect)
        return found

    def redeem(self, code: str, *, of: str = "", expect: int = 201) -> dict[str, Any]:
        path = of or f"/v0/customers/{self.customer}"
        found: dict[str, Any] = self.world.api.post(f"{path}/coupons", {"code": code}, expect=expect)
        return found

    @property
    def path(self) -> str:
        return f"/v0/subscriptions/{self.id}"

    def invoice(self, number: int) -> dict[str, Any]:
        """Give an invoice by its place among those of the subscription."""
        return self.world.invoices(self.id)[number]

    def lines(self, number: int) -> list[tuple[str, str]]:
        """Give names and amounts of an invoice, each recomputed from what it keeps."""
        found = self.world.lines(self.invoice(number)["id"])
        for line in found:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in found]

    def off(self, number: int) -> list[str]:
        return [amount for name, amount in self.lines(number) if name.startswith("Deal ")]

    def use(self, moment: str, tokens: int, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)
