"""A merchant that sells tokens with an allowance, and customers on test clocks."""

from dataclasses import dataclass
from typing import Any

from apps.metering.services.merge import drain
from tests.world import World

START = "2026-01-01T00:00:00Z"
MILLION = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 1_000_000}


@dataclass
class Kit:
    world: World
    product: str
    metric: str

    @classmethod
    def make(cls, world: World) -> "Kit":
        product = world.product()
        return cls(world, product, world.metric(product))

    def feature(self, key: str = "tokens", kind: str = "metered") -> str:
        body = {"key": key, "name": key, "merchantId": self.world.id, "productId": self.product, "type": kind}
        return str(self.world.api.post("/v0/features", body)["id"])

    def price(self, feature: str, template: dict[str, Any] | None, **extra: Any) -> str:
        attached: dict[str, Any] = {"featureId": feature}
        if template is not None:
            attached["entitlementTemplate"] = template
        return self.world.usage_price(extra.pop("metric", self.metric), feature=attached, **extra)

    def subscriber(self, prices: list[str], at: str = START, **extra: Any) -> tuple[str, str, str]:
        """Give customer, subscription and clock."""
        plan = self.world.plan(self.product, prices, **extra)
        clock = self.world.clock(at)
        customer = self.world.customer()
        return customer, self.world.subscribe(customer, plan, at=at, clock=clock)["id"], clock

    def use(self, customer: str, at: str, tokens: int, **more: Any) -> None:
        self.world.send(customer, at, tokens=tokens, **more)
        drain()

    def rights(self, customer: str, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.world.api.get(f"/v1/entitlements?customerId={customer}{query}")["data"]
        return found

    def right(self, customer: str, query: str = "") -> dict[str, Any]:
        (found,) = self.rights(customer, query)
        return found

    def check(self, *questions: dict[str, Any], expect: int = 200) -> list[dict[str, Any]]:
        body = {"questions": list(questions)}
        found: list[dict[str, Any]] = self.world.api.post("/v1/entitlements/check", body, expect=expect).get("data")
        return found
