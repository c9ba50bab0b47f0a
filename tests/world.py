"""A merchant to test with: its rows, its key, and its catalogue made over the API."""

import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.test import Client

from apps.kernel.time import parse_instant
from apps.metering.services.merge import drain
from apps.organizations.models import Organization, User
from apps.organizations.services.keys import create_api_key
from apps.organizations.services.organizations import create_merchant
from apps.subscriptions.models import TestClock
from apps.subscriptions.services.clocks import request_advance, run_advance

_numbers = itertools.count(1)


@dataclass
class Api:
    """Calls the API as an integrator does, through Django's whole request path."""

    secret: str
    client: Client = field(default_factory=Client)

    def call(self, method: str, path: str, body: Any = None, *, expect: int | None = None, **headers: str) -> Any:
        sent: dict[str, Any] = {}
        if body is not None:
            sent = {"data": json.dumps(body), "content_type": "application/json"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret}"
        answer = getattr(self.client, method.lower())(path, headers=headers, **sent)
        if expect is not None:
            assert answer.status_code == expect, (method, path, answer.status_code, answer.content[:2000])
        return answer

    def get(self, path: str, expect: int = 200) -> Any:
        return json.loads(self.call("get", path, expect=expect).content)

    def post(self, path: str, body: Any = None, expect: int = 201, **headers: str) -> Any:
        return json.loads(self.call("post", path, body if body is not None else {}, expect=expect, **headers).content)

    def patch(self, path: str, body: Any, expect: int = 200) -> Any:
        return json.loads(self.call("patch", path, body, expect=expect).content)

    def delete(self, path: str, expect: int = 204) -> Any:
        answer = self.call("delete", path, expect=expect)
        return json.loads(answer.content) if answer.content else None


@dataclass
class World:
    merchant: Organization
    owner: User
    secret: str
    api: Api

    @property
    def id(self) -> str:
        return self.merchant.public_id

    def product(self) -> str:
        body = {"name": "Gateway", "description": "LLM gateway", "merchantId": self.id, "metadata": {}}
        return str(self.api.post("/v0/products", body)["id"])

    def metric(self, product: str, *, path: str = "$.tokens", aggregation: str = "SUM", **extra: Any) -> str:
        body = {
            "aggregation": aggregation,
            "description": "counted",
            "merchantId": self.id,
            "name": f"Metric {path}",
            "unit": "tokens",
            "eventType": "ai.inference",
            "productId": product,
            "valueProperty": path,
            **extra,
        }
        return str(self.api.post("/v0/billableMetrics", body)["id"])

    def usage_price(self, metric: str, unit_price: str = "0.000002", **extra: Any) -> str:
        body = {
            "invoiceDisplayName": "Tokens",
            "paymentTerm": "in_arrears",
            "model": "standard",
            "properties": {"unitPrice": unit_price},
            "billableMetricId": metric,
            **extra,
        }
        return str(self.api.post("/v0/prices", body)["id"])

    def fee_price(self, product: str, amount: str = "49.00", **extra: Any) -> str:
        fee = self.api.post(
            "/v0/fees", {"name": "Platform fee", "description": "base", "merchantId": self.id, "productId": product}
        )["id"]
        body = {
            "invoiceDisplayName": "Platform fee",
            "paymentTerm": "in_advance",
            "properties": {"unitPrice": amount},
            "feeId": fee,
            "billingCadence": "P1M",
            **extra,
        }
        return str(self.api.post("/v0/prices", body)["id"])

    def plan(self, product: str, prices: list[str], **extra: Any) -> str:
        body = {
            "currency": "USD",
            "merchantId": self.id,
            "name": "Pro",
            "productId": product,
            "billingCadence": "P1M",
            "prices": prices,
            **extra,
        }
        return str(self.api.post("/v0/plans", body)["id"])

    def customer(self, **extra: Any) -> str:
        number = next(_numbers)
        body = {
            "merchantId": self.id,
            "consumer": {
                "name": f"Customer {number}",
                "email": f"ap{number}@customer.test",
                "address": {"line1": "1 Main", "city": "Lyon", "country": "FR", "zipCode": "69001"},
            },
            **extra,
        }
        return str(self.api.post("/v0/customers", body)["customerId"])

    def clock(self, at: str) -> str:
        return str(self.api.post("/v0/testClocks", {"currentTime": at})["id"])

    def subscribe(
        self, customer: str, plan: str, *, at: str, clock: str | None = None, **extra: Any
    ) -> dict[str, Any]:
        body = {"name": "Sub", "planId": plan, "customerId": customer, "startedAt": at, **extra}
        if clock is not None:
            body["testClockId"] = clock
        found: dict[str, Any] = self.api.post("/v0/subscriptions", body)
        return found

    def pay(self, invoice: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.api.post(
            f"/v2/invoices/{invoice}/payment", {"method": "out_of_band"}, expect=200
        )
        return answer

    def send(self, subject: str, at: str, expect: int = 202, key: str | None = None, **data: Any) -> dict[str, Any]:
        body = {
            "type": "ai.inference",
            "source": "test",
            "subject": subject,
            "timestamp": at,
            "data": data,
            "idempotencyKey": key or f"k{next(_numbers)}",
        }
        answer: dict[str, Any] = self.api.post("/v0/events", body, expect=expect)
        return answer

    def advance(self, clock: str, to: str) -> None:
        """Move a clock as the worker does after the API stored the target."""
        drain()
        row = TestClock.objects.get(public_id=clock)
        request_advance(clock_id=row.pk, target=parse_instant(to))
        run_advance(clock_id=row.pk)

    def invoices(self, subscription: str) -> list[dict[str, Any]]:
        """Give a subscription's invoices, the first period's first."""
        found = self.api.get(f"/v2/invoices?subscriptionId={subscription}&limit=100")["data"]
        return sorted(found, key=lambda invoice: int(invoice["sequenceNumber"]))

    def lines(self, invoice: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"/v2/invoices/{invoice}/lineItems?expand=lineProvenance")[
            "lineItems"
        ]
        return found

    def amounts(self, invoice: str) -> list[Decimal]:
        return sorted(Decimal(line["totalPrice"]) for line in self.lines(invoice))


def make_world(environment: str = "test") -> World:
    number = next(_numbers)
    owner = User.objects.create_user(f"owner{number}@merchant.test", "correct horse battery", is_staff=True)
    merchant = create_merchant(
        name=f"Merchant {number}", email=f"m{number}@merchant.test", owner=owner, environment=environment
    )
    _, secret = create_api_key(organization=merchant, user=owner, name="test")
    return World(merchant, owner, secret, Api(secret))


def at(text: str) -> datetime:
    return parse_instant(text)


__all__ = ["Api", "World", "at", "make_world"]
