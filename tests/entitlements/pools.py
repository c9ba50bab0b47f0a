"""A merchant that sells input and output tokens in credits of one pool."""

from dataclasses import dataclass
from typing import Any

from tests.entitlements.kit import START, Kit
from tests.world import World

MONTHLY = 10_000


@dataclass
class PoolKit:
    kit: Kit
    unit: str
    output: str

    @classmethod
    def make(cls, world: World) -> "PoolKit":
        kit = Kit.make(world)
        body = {"merchantId": world.id, "key": "tokens", "name": "Tokens"}
        unit = str(world.api.post("/v1/pricingUnits", body)["id"])
        return cls(kit, unit, world.metric(kit.product, path="$.output"))

    @property
    def world(self) -> World:
        return self.kit.world

    def price(self, rate: str = "1", metric: str | None = None, **extra: Any) -> str:
        return self.world.usage_price(metric or self.kit.metric, rate, pricingUnitId=self.unit, **extra)

    def both(self, input_rate: str = "1", output_rate: str = "3") -> list[str]:
        """Give a price of input and one of output tokens."""
        return [self.price(input_rate), self.price(output_rate, self.output)]

    def given(self, amount: float = MONTHLY, recurrence: str | None = "P1M") -> dict[str, Any]:
        row: dict[str, Any] = {"pricingUnitId": self.unit, "amount": amount}
        if recurrence is not None:
            row["recurrencePeriod"] = recurrence
        return {"creditAllocations": [row]}

    def subscriber(self, prices: list[str], at: str = START, **extra: Any) -> tuple[str, str, str]:
        return self.kit.subscriber(prices, at, **extra)

    def pools(self, customer: str, query: str = "") -> list[dict[str, Any]]:
        path = f"/v1/pricingUnits/{self.unit}/pools?customerId={customer}{query}"
        found: list[dict[str, Any]] = self.world.api.get(path)["data"]
        return found

    def pool(self, customer: str, at: str = "") -> dict[str, Any]:
        (found,) = self.pools(customer, f"&at={at}" if at else "")
        return found

    def left(self, customer: str, at: str = "") -> tuple[float, float]:
        """Give balance and overage."""
        found = self.pool(customer, at)
        return found["balance"], found["overage"]

    def grant(self, customer: str, amount: float, key: str = "g", expect: int = 201, **extra: Any) -> Any:
        body = {"customerId": customer, "amount": amount, "idempotencyKey": key, **extra}
        return self.world.api.post(f"/v1/pricingUnits/{self.unit}/grants", body, expect=expect)
