"""What a change would bill is said beforehand, is what the change then bills, and leaves nothing behind."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from apps.invoicing.models import NumberSeries
from apps.subscriptions.models import Subscription
from tests.untouched import fingerprint
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY = "2026-01-01T00:00:00Z"


class Shop:
    """A plan of 31.00 a month and usage at 1.00, with 10 % tax, on a clock; unused prepaid time is given back."""

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.clock = world.clock(JANUARY)
        self.metric = world.metric(self.product)
        self.prices = [world.fee_price(self.product, "31.00"), world.usage_price(self.metric, unit_price="1")]
        self.plan = world.plan(self.product, self.prices, defaultTaxRate="10")
        Subscription.plan.field.related_model.objects.update(credit_unused_at_end=True)
        self.customer = world.customer()

    def start(self) -> str:
        subscription = self.world.subscribe(self.customer, self.plan, at=JANUARY, clock=self.clock)
        self.world.pay(subscription["payment"]["invoiceId"])
        self.world.send(self.customer, "2026-01-05T00:00:00Z", tokens=3)
        self.world.advance(self.clock, "2026-01-11T00:00:00Z")
        return str(subscription["id"])

    def ask(self, subscription: str, what: str, body: Any = None, expect: int = 200) -> dict[str, Any]:
        """Preview, and hold the whole database to it that nothing of it stays."""
        path = f"/v0/subscriptions/{subscription}/{what}/preview"
        before = fingerprint()
        found: dict[str, Any] = self.world.api.post(path, body, expect=expect)
        assert fingerprint() == before
        return found

    def do(self, subscription: str, what: str, body: Any = None, expect: int = 200) -> None:
        self.world.api.post(f"/v0/subscriptions/{subscription}/{what}", body, expect=expect)

    def open_total(self, subscription: str) -> str:
        return str(self.world.invoices(subscription)[-1]["grandTotal"])

    def total_after(self, subscription: str, until: str) -> str:
        """Give what the last issued invoice comes to."""
        self.world.advance(self.clock, until)
        return [i["grandTotal"] for i in self.world.invoices(subscription) if i["status"] in {"ISSUED", "PAID"}][-1]


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def test_a_new_subscription(shop: Shop) -> None:
    body = {
        "name": "Sub", "planId": shop.plan, "customerId": shop.customer, "startedAt": JANUARY,
        "testClockId": shop.clock,
    }  # fmt: skip
    before = fingerprint()
    found = shop.world.api.post("/v0/subscriptions/preview", body, expect=200)
    assert fingerprint() == before
    assert NumberSeries.objects.count() == 0
    assert (found["opening"]["subtotal"], found["opening"]["tax"], found["opening"]["total"]) == (
        "31.00", "3.10", "34.10",
    )  # fmt: skip
    assert (found["dueToday"], found["closing"]["lines"], found["effectiveAt"]) == ("34.10", [], JANUARY)
    subscription = shop.world.api.post("/v0/subscriptions", body)
    zero = shop.world.invoices(subscription["id"])[0]
    assert (zero["grandTotal"], zero["invoiceNumber"][-6:]) == ("34.10", "000001")
    again = shop.world.api.post("/v0/subscriptions/preview", body, expect=409)
    assert again["code"] == "SUBSCRIPTION_EXISTS"


def test_a_new_subscription_of_a_new_customer_later(shop: Shop) -> None:
    body = {
        "name": "Sub", "planId": shop.plan, "startedAt": "2026-02-01T00:00:00Z", "testClockId": shop.clock,
        "customer": {
            "name": "Unknown Ltd", "email": "a@unknown.test",
            "address": {"country": "FR", "zipCode": "69001"}, "taxRates": {"default": 20},
        },
    }  # fmt: skip
    before = fingerprint()
    found = shop.world.api.post("/v0/subscriptions/preview", body, expect=200)
    assert fingerprint() == before
    # 31.00 and the customer's own 20 %, but not today.
    assert (found["opening"]["total"], found["dueToday"]) == ("37.20", "0.00")


def test_a_termination(shop: Shop) -> None:
    old = shop.start()
    found = shop.ask(old, "termination")
    # 3 units; 21 of 31 days of the fee come back; 10 % tax: (3 − 21) × 1.1.
    assert (found["credit"], found["closing"]["subtotal"], found["closing"]["total"]) == (
        "-21.00",
        "-18.00",
        "-19.80",
    )
    assert (found["dueToday"], found["opening"]["lines"]) == ("0.00", [])
    # Without it the open bill has the usage and February's fee.
    assert found["before"]["total"] == "37.40"
    shop.do(old, "termination", {"reason": "x"})
    assert shop.total_after(old, "2026-01-12T00:00:00Z") == "-19.80"
    assert shop.ask(old, "termination", expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_a_termination_before_the_payment_owes_nothing(shop: Shop) -> None:
    subscription = shop.world.subscribe(shop.customer, shop.plan, at=JANUARY, clock=shop.clock)
    found = shop.ask(subscription["id"], "termination")
    assert (found["before"]["total"], found["closing"]["lines"], found["net"]) == ("34.10", [], "0.00")


@pytest.mark.parametrize(
    ("body", "ends", "credit", "total"),
    [
        ({}, "2026-02-01T00:00:00Z", "0.00", "3.30"),
        # 11 of 31 days are unused, known in January.
        ({"cancelsAt": "2026-01-21T00:00:00Z"}, "2026-01-21T00:00:00Z", "-11.00", "-8.80"),
    ],
)
def test_a_cancellation(shop: Shop, body: dict[str, str], ends: str, credit: str, total: str) -> None:
    old = shop.start()
    found = shop.ask(old, "cancellation", body)
    assert (found["effectiveAt"], found["credit"], found["closing"]["total"]) == (ends, credit, total)
    assert found["dueToday"] == "0.00"
    shop.do(old, "cancellation", {"reason": "x", **body})
    assert shop.total_after(old, "2026-02-02T00:00:00Z") == total
    shop.ask(old, "cancellation", expect=409)


def test_a_cancellation_too_far_ahead_is_not_looked_at(shop: Shop) -> None:
    old = shop.start()
    found = shop.ask(old, "cancellation", {"cancelsAt": "2037-01-01T00:00:00Z"}, expect=400)
    assert "120 periods" in found["errors"][0]["message"]


def test_a_pause_and_a_resumption(shop: Shop) -> None:
    old = shop.start()
    found = shop.ask(old, "pause")
    # 21 of 31 days come back, and February's fee is not billed while it lasts.
    assert (found["credit"], found["closing"]["total"]) == ("-21.00", "-19.80")
    assert found["effectiveAt"] == "2026-01-11T00:00:00Z"
    shop.do(old, "pause")
    assert shop.open_total(old) == "-19.80"
    shop.world.advance(shop.clock, "2026-01-21T00:00:00Z")
    found = shop.ask(old, "resume")
    # Ten days were paused: 10 of 31 come back; 3 units and February's fee: (3 − 10 + 31) × 1.1.
    assert (found["credit"], found["closing"]["total"], found["dueToday"]) == ("-10.00", "26.40", "0.00")
    shop.do(old, "resume")
    assert shop.open_total(old) == "26.40"
    assert shop.ask(old, "resume", expect=409)["code"]


def test_a_version_migration(shop: Shop) -> None:
    old = shop.start()
    dearer = shop.world.usage_price(shop.metric, unit_price="2")
    shop.world.api.post(f"/v0/plans/{shop.plan}/versions", {"prices": [shop.prices[0], dearer]})
    later = shop.ask(old, "versionMigration", {"targetVersionNumber": 2, "timing": "next_period"})
    assert (later["effectiveAt"], later["closing"]["total"]) == ("2026-02-01T00:00:00Z", "37.40")
    now = shop.ask(old, "versionMigration", {"targetVersionNumber": 2, "timing": "immediate"})
    # 3 units at 2.00 and February's fee.
    assert (now["before"]["total"], now["closing"]["total"]) == ("37.40", "40.70")
    shop.do(old, "versionMigration", {"targetVersionNumber": 2, "timing": "immediate"})
    assert shop.open_total(old) == "40.70"
    again = shop.ask(old, "versionMigration", {"targetVersionNumber": 2, "timing": "immediate"})
    assert again["effectiveAt"] is None
    shop.ask(old, "versionMigration", {"targetVersionNumber": 9}, expect=404)


def test_an_adjustment(shop: Shop) -> None:
    old = shop.start()
    body = {"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveFrom": JANUARY}
    found = shop.ask(old, "adjustments", body)
    # Half of 3 units and of February's fee: 17.00 and 10 %.
    assert (found["before"]["total"], found["closing"]["total"]) == ("37.40", "18.70")
    names = [line["displayName"] for line in found["closing"]["lines"]]
    assert sum(name.startswith("Discount") for name in names) == 2
    shop.do(old, "adjustments", body, expect=201)
    assert shop.open_total(old) == "18.70"
    assert shop.ask(old, "adjustments", {"type": "x"}, expect=400)["errors"][0]["field"] == "type"


def test_a_change_of_plan_is_due_when_it_is_made_now(shop: Shop) -> None:
    old = shop.start()
    large = shop.world.plan(shop.product, [shop.world.fee_price(shop.product, "62.00")], name="Large")
    now = shop.ask(old, "planChange", {"planId": large})
    # 21 of 31 days of the large plan, without tax.
    assert (now["opening"]["total"], now["dueToday"]) == ("42.00", "42.00")
    later = shop.ask(old, "planChange", {"planId": large, "timing": "period_end"})
    assert (later["opening"]["total"], later["dueToday"]) == ("62.00", "0.00")


def test_previews_add_up(shop: Shop) -> None:
    old = shop.start()
    found = shop.ask(old, "termination")
    for bill in (found["before"], found["closing"], found["opening"]):
        lines = bill["lines"]
        for part in ("subtotal", "tax", "total"):
            assert sum((Decimal(line[part]) for line in lines), Decimal(0)) == Decimal(bill[part])
    assert Decimal(found["net"]) == Decimal(found["closing"]["total"]) + Decimal(found["opening"]["total"])


def test_dialogs_say_it_before_they_act(shop: Shop) -> None:
    row = Subscription.objects.get(public_id=shop.start())
    client = Client()
    client.force_login(shop.world.owner)
    large = shop.world.plan(shop.product, [shop.world.fee_price(shop.product, "62.00")], name="Large")

    def dialog(action: str, **sent: str) -> str:
        path = f"/admin/subscriptions/subscription/{row.pk}/{action}/"
        before = fingerprint()
        answer = client.post(path, {**sent, "_form_submitted": "1", "preview": "1"}) if sent else client.get(path)
        after = fingerprint()
        # A visit may be noted in the session, nothing else.
        assert {t: v for t, v in after.items() if t != "django_session"} == {
            t: v for t, v in before.items() if t != "django_session"
        }
        assert answer.status_code == 200
        return str(answer.content.decode())

    for action in ("pause", "terminate"):
        said = dialog(action)
        assert "−$19.80" in said, action
        assert "Given back of prepaid fees: −$21.00" in said
    assert "$3.30" in dialog("cancel")
    assert "−$8.80" in dialog("cancel", reason="x", cancels_at="2026-01-21T00:00:00Z")
    assert "Give an instant" in dialog("cancel", reason="x", cancels_at="soon")
    assert "Due today: $42.00" in dialog("change-plan", plan=large, timing="now", effective_at="")
    assert "There is no plan plan_x" in dialog("change-plan", plan="plan_x", timing="now", effective_at="")
    assert "has no published version 9" in dialog("migrate-version", version="9", timing="immediate")
    assert "Nothing would change" not in dialog("migrate-version", version="1", timing="immediate")
    said = dialog("adjust", type="percentageDiscount", value="0.5", effective_from=JANUARY)
    assert "$18.70" in said
    # What is not filled in is asked for, and nothing is shown.
    assert "required" in dialog("adjust", type="percentageDiscount", value="0.5")
    row.refresh_from_db()
    assert (row.status, row.paused_at, row.cancels_at) == ("active", None, None)
