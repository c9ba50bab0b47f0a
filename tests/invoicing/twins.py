"""Two customers with the same usage, one of them billed early; prices of every kind to bill them by."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.services.early import bill_usage_now
from apps.kernel.errors import ConflictError
from apps.metering.services.merge import drain
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time
from tests.world import World

PRICES: dict[str, dict[str, Any]] = {
    "standard": {"model": "standard", "properties": {"unitPrice": "0.333"}},
    "package": {"model": "package", "properties": {"packageSize": "7", "packagePrice": "3.01"}},
    "graduated": {
        "model": "graduated",
        "properties": {
            "tiers": [
                {"upTo": "5", "unitPrice": "1.005", "flatFee": "2"},
                {"upTo": "20", "unitPrice": "0.7"},
                {"upTo": None, "unitPrice": "0.111"},
            ]
        },
    },
    "volume": {
        "model": "volume",
        "properties": {"tiers": [{"upTo": "10", "unitPrice": "2.345"}, {"upTo": None, "unitPrice": "0.5"}]},
    },
    "graduated_percentage": {
        "model": "graduated_percentage",
        "properties": {"tiers": [{"upTo": "12", "percentage": "0.03"}, {"upTo": None, "percentage": "0.01"}]},
    },
    "percentage": {
        "model": "percentage",
        "properties": {"percentage": "0.029", "fixedCharge": "0.305", "freeAmount": "11", "freeEvents": 3},
    },
    "dynamic": {"model": "dynamic", "properties": {"minPrice": "0.01", "maxPrice": "0.5"}},
    "grouped": {
        "model": "graduated",
        "properties": {
            "tiers": [{"upTo": "8", "unitPrice": "1.115"}, {"upTo": None, "unitPrice": "0.2"}],
            "groups": [
                {
                    "match": {"model": "opus"},
                    "properties": {"tiers": [{"upTo": "3", "unitPrice": "5.555"}, {"upTo": None, "unitPrice": "1"}]},
                }
            ],
            "groupTiers": "own",
        },
    },
}


@dataclass
class Twins:
    """Two customers with the same usage; one of them is billed early."""

    world: World
    clock: str
    plan: str
    split: tuple[str, dict[str, Any]]
    whole: tuple[str, dict[str, Any]]
    sent: int = 0
    keys: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, world: World, price: dict[str, Any], *, tax: str = "0", **plan: Any) -> "Twins":
        product = world.product()
        metric = world.metric(product, groupBy={"model": "$.model"})
        prices = [world.usage_price(metric, **price)]
        clock = world.clock("2026-01-01T00:00:00Z")
        sold = world.plan(product, prices, defaultTaxRate=tax, **plan)
        pair = []
        for _ in range(2):
            customer = world.customer()
            pair.append((customer, world.subscribe(customer, sold, at="2026-01-01T00:00:00Z", clock=clock)))
        return cls(world, clock, sold, *pair)

    def use(self, moment: str, **data: Any) -> None:
        self.sent += 1
        for name, (customer, _) in (("split", self.split), ("whole", self.whole)):
            self.world.send(customer, moment, key=f"{name}{self.sent}-{customer}", **data)
        self.keys.append(str(self.sent))
        drain()

    def void(self, *numbers: int) -> None:
        keys = [
            f"{name}{number}-{customer}"
            for number in numbers
            for name, (customer, _) in (("split", self.split), ("whole", self.whole))
        ]
        self.world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": keys}, expect=200)

    def row(self, who: tuple[str, dict[str, Any]] | None = None) -> Subscription:
        subscription = (who or self.split)[1]
        return Subscription.objects.select_related("test_clock").get(public_id=subscription["id"])

    def bill(self) -> Invoice | None:
        row = self.row()
        try:
            return bill_usage_now(subscription_id=row.pk, as_of=current_time(row))
        except ConflictError as error:
            if error.code != "NOTHING_TO_BILL":
                raise
            return None

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)

    def totals(self) -> tuple[Decimal, Decimal]:
        """Give what each was billed, net, on stored invoices."""
        found = []
        for who in (self.split, self.whole):
            lines = InvoiceLine.objects.filter(invoice__subscription=self.row(who))
            for line in lines:
                assert recompute(line.provenance) == line.gross, line.reference
            found.append(sum((line.gross for line in lines), Decimal(0)))
        return found[0], found[1]

    def bills(self) -> list[tuple[int, int, Decimal]]:
        rows = Invoice.objects.filter(subscription=self.row()).order_by("sequence_number", "part")
        return [(row.sequence_number, row.part, row.grand_total) for row in rows]
