"""A subscription on a plan of two fees, a charge that falls due once, and usage."""

from decimal import Decimal
from typing import Any

from apps.rating.reading import recompute
from tests.world import World

JANUARY, FEBRUARY, MARCH, APRIL = (f"2026-0{month}-01T00:00:00Z" for month in range(1, 5))


class Deal:
    """A monthly plan: 30.00 a seat in advance, 2.80 a backup in arrears, 20.00 once, and tokens at 1.00."""

    def __init__(self, world: World, **plan: Any) -> None:
        self.world, self.product = world, world.product()
        self.seats = world.fee_price(self.product, "30.00")
        self.backups = world.fee_price(self.product, "2.80", paymentTerm="in_arrears")
        self.setup = world.fee_price(self.product, "20.00", billingCadence="P0D")
        self.tokens = world.usage_price(world.metric(self.product), unit_price="1")
        lines = [
            (self.seats, "seats"), (self.backups, "backups"), (self.setup, "setup"), (self.tokens, "tokens"),
        ]  # fmt: skip
        self.plan = world.plan(self.product, [{"priceId": p, "key": k} for p, k in lines], **plan)  # type: ignore[misc]
        self.clock = world.clock(JANUARY)
        self.customer = world.customer()
        made = world.subscribe(self.customer, self.plan, at=JANUARY, clock=self.clock)
        world.pay(made["payment"]["invoiceId"])
        self.id, self.version = made["id"], made["planVersionId"]
        self.url = f"/v0/subscriptions/{self.id}/intervals"

    def edit(self, expect: int = 200, **ops: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.world.api.post(self.url, ops, expect=expect)
        return found

    def add(
        self, key: str, start: str, unit_price: str | None = None, expect: int = 200, **more: Any
    ) -> dict[str, Any]:
        op = {
            "priceKey": key, "unitPrice": unit_price, "baseQuantity": "1", "billingCadence": "P1M",
            "billingMode": "advance" if key == "seats" else "arrears", "startDate": start, **more,
        }  # fmt: skip
        return self.edit(expect, add=[op])

    def timeline(self, key: str | None = None) -> list[dict[str, Any]]:
        found = self.world.api.get(self.url)["intervals"]
        return [one for one in found if key in (None, one["priceKey"])]

    def spans(self, key: str) -> list[tuple[str, str | None, str | None]]:
        return [(one["startDate"], one["endDate"], one["unitPrice"]) for one in self.timeline(key)]

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def totals(self) -> list[str]:
        return [i["grandTotal"] for i in self.world.invoices(self.id) if i["status"] in {"ISSUED", "PAID"}]

    def bill(self, number: int) -> list[tuple[str, str, str]]:
        """Give name, quantity and amount of the lines of an invoice, without usage of nothing."""
        lines = self.world.lines(self.world.invoices(self.id)[number]["id"])
        for line in lines:
            if "steps" in line["provenance"]:
                assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
        found = [(line["invoiceDisplayName"], str(line["quantity"]), line["totalPrice"]) for line in lines]
        return [row for row in found if row[:2] != ("Tokens", "0")]
