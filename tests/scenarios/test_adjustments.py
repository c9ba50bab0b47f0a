"""What is agreed with one subscriber: percentages off, units waived, bounds, from the agreement to the invoice."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Plan
from apps.invoicing.models import InvoiceLine, SubscriptionAdjustment
from apps.invoicing.services.adjustments import withdraw_adjustment
from apps.outbox.models import OutboxEvent
from apps.rating.reading import recompute
from apps.subscriptions.models import Subscription
from tests.concurrency import at_once
from tests.world import World, at

pytestmark = pytest.mark.django_db

LADDER = {"tiers": [{"upTo": "999", "unitPrice": "2"}, {"upTo": None, "unitPrice": "1"}]}


class Case:
    """A subscription from 1 January on a fee of 30.00 in arrears and usage at 1.00 a token."""

    def __init__(self, world: World, *, fee: dict[str, Any] | None = None, **usage: Any) -> None:
        self.world = world
        product = world.product()
        self.usage = world.usage_price(world.metric(product), **{"unit_price": "1", **usage})
        self.fee = world.fee_price(product, "30.00", **(fee or {"paymentTerm": "in_arrears"}))
        self.plan = world.plan(product, [self.usage, self.fee])
        self.customer = world.customer()
        self.clock = world.clock("2026-01-01T00:00:00Z")
        self.subscription = world.subscribe(self.customer, self.plan, at="2026-01-01T00:00:00Z", clock=self.clock)
        self.path = f"/v0/subscriptions/{self.subscription['id']}/adjustments"

    def agree(self, type: str, value: str, *targets: str, expect: int = 201, **extra: Any) -> dict[str, Any]:
        body = {"type": type, type: value, "effectiveFrom": "2026-01-01T00:00:00Z", **extra}
        if targets:
            body["targetPriceIds"] = list(targets)
        found: dict[str, Any] = self.world.api.post(self.path, body, expect=expect)
        return found

    def lines(self, number: int) -> list[tuple[str, str]]:
        """Give names and amounts of an invoice, each recomputed from what it keeps."""
        found = self.world.lines(self.world.invoices(self.subscription["id"])[number]["id"])
        for line in found:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"]), line
        return [(line["invoiceDisplayName"], line["totalPrice"]) for line in found]

    def use(self, moment: str, tokens: int, key: str | None = None) -> None:
        self.world.send(self.customer, moment, key=key, tokens=tokens)

    def advance(self, to: str) -> None:
        self.world.advance(self.clock, to)


def test_percentages_compound_a_line_for_each_charge(world: World) -> None:
    case = Case(world)
    case.use("2026-01-03T10:15:00Z", 100)
    case.agree("percentageDiscount", "0.35", description="Launch partner")
    case.agree("percentageDiscount", "0.35")
    case.advance("2026-02-02T00:00:00Z")
    # 57.75 % off: 42.25 of 100, and 12.675 of 30, each discount rounded by itself.
    assert case.lines(0) == [
        ("Tokens", "100.00"),
        ("Launch partner: Tokens", "-35.00"),
        ("Discount: Tokens", "-22.75"),
        ("Platform fee", "30.00"),
        ("Launch partner: Platform fee", "-10.50"),
        ("Discount: Platform fee", "-6.83"),
    ]
    assert world.invoices(case.subscription["id"])[0]["grandTotal"] == "54.92"
    # Late usage, and what is voided of it, is worth what is left of it.
    case.use("2026-01-05T00:00:00Z", 40, key="late")
    case.advance("2026-03-02T00:00:00Z")
    assert ("Tokens (late usage)", "16.90") in case.lines(1)
    world.api.post("/v0/events/void", {"reason": "test", "idempotencyKeys": ["late"]}, expect=200)
    case.use("2026-03-05T00:00:00Z", 100)
    case.advance("2026-04-02T00:00:00Z")
    assert ("Tokens (correction)", "-16.90") in case.lines(2)


def test_a_percentage_holds_for_the_days_of_its_window(world: World) -> None:
    case = Case(world)
    case.agree("percentageDiscount", "0.5", effectiveFrom="2026-01-22T00:00:00Z", effectiveTo="2026-02-08T00:00:00Z")
    case.advance("2026-04-02T00:00:00Z")
    # 10 of 31 days, 7 of 28 days, and nothing: 30 × 50 % × 10/31 = 4.84, 30 × 50 % × 1/4 = 3.75.
    assert case.lines(0)[1:] == [("Platform fee", "30.00"), ("Discount: Platform fee", "-4.84")]
    assert case.lines(1)[1:] == [("Platform fee", "30.00"), ("Discount: Platform fee", "-3.75")]
    assert case.lines(2)[1:] == [("Platform fee", "30.00")]


def test_waived_units_choose_the_band_again(world: World) -> None:
    case = Case(world, model="volume", properties=LADDER)
    case.use("2026-01-03T10:15:00Z", 1000)
    first = case.agree("usageDiscount", "200", case.usage, effectiveTo="2026-02-01T00:00:00Z")
    second = case.agree("usageDiscount", "100", case.usage, effectiveTo="2026-02-01T00:00:00Z")
    case.advance("2026-02-02T00:00:00Z")
    # The published example: 700 at 2.00, more than the 1,000 at 1.00.
    assert case.lines(0)[0] == ("Tokens", "1400.00")
    ledger = world.api.get(f"/v2/invoices/lineItems?subscriptionId={case.subscription['id']}")
    (line,) = [row for row in ledger["data"] if row["type"] == "metered" and row["status"] == "invoiced"]
    assert (line["quantity"], line["meteredQuantity"]) == ("700", "1000")
    assert line["usageDiscountIds"] == [first["id"], second["id"]]
    # Late usage is priced as the period was: 800 at 2.00. February has nothing waived.
    case.use("2026-01-04T10:15:00Z", 100)
    case.use("2026-02-04T10:15:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "20.00"), ("Platform fee", "30.00"), ("Tokens (late usage)", "200.00")]


def test_more_waived_than_used_is_nothing(world: World) -> None:
    case = Case(world)
    case.use("2026-01-03T10:15:00Z", 100)
    case.agree("usageDiscount", "300", case.usage)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(0)[0] == ("Tokens", "0.00")


def test_bounds_hold_whole_periods_the_tightest_of_each(world: World) -> None:
    case = Case(world)
    case.agree("minimumQuantity", "20", case.usage)
    case.agree("minimumQuantity", "50", case.usage, effectiveFrom="2026-01-15T00:00:00Z")
    case.agree("maximumQuantity", "70", case.usage)
    case.agree("maximumQuantity", "90", case.usage)
    case.agree("minimumQuantity", "3", case.fee, effectiveTo="2026-02-01T00:00:00Z")
    case.use("2026-02-03T10:15:00Z", 500)
    case.use("2026-03-03T10:15:00Z", 60)
    case.advance("2026-04-02T00:00:00Z")
    assert [case.lines(number) for number in range(3)] == [
        [("Tokens", "50.00"), ("Platform fee", "90.00")],
        [("Tokens", "70.00"), ("Platform fee", "30.00")],
        [("Tokens", "60.00"), ("Platform fee", "30.00")],
    ]
    march = world.lines(world.invoices(case.subscription["id"])[2]["id"])[0]["provenance"]
    # 60 lie within: the bounds are named, and that they changed nothing.
    (idle,) = march["notApplied"]
    assert (idle["source"], len(idle["adjustmentIds"])) == ("adjustments", 2)
    assert march["sources"]["adjustments"]["ref"]["adjustmentIds"] == idle["adjustmentIds"]
    client = Client()
    client.force_login(world.owner)
    line = InvoiceLine.objects.get(kind="metered", invoice__sequence_number=1)
    page = client.get(reverse("admin:invoicing_invoice_change", args=[line.invoice.pk])).content.decode()
    assert "hold the quantity to what is agreed: at least 50, at most 70 → 50" in page


def test_what_has_fallen_due_is_not_reached(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    case.world.pay(case.subscription["payment"]["invoiceId"])
    case.use("2026-01-03T10:15:00Z", 100)
    # In the hour of grace: January is over, and so is what was due with its end.
    case.advance("2026-02-01T00:30:00Z")
    case.agree("percentageDiscount", "0.5")
    case.use("2026-02-03T10:15:00Z", 100)
    case.advance("2026-02-02T00:00:00Z")
    assert case.lines(1) == [("Tokens", "100.00"), ("Platform fee", "30.00")]
    case.use("2026-01-20T10:15:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    assert case.lines(2) == [
        ("Tokens", "100.00"),
        ("Discount: Tokens", "-50.00"),
        ("Platform fee", "30.00"),
        ("Discount: Platform fee", "-15.00"),
        ("Tokens (late usage)", "10.00"),
    ]


def test_withdrawing_deletes_what_was_never_billed_and_ends_what_was(world: World) -> None:
    case = Case(world)
    unused = case.agree("percentageDiscount", "0.1", idempotencyKey="deal")
    assert case.agree("percentageDiscount", "0.9", idempotencyKey="deal", expect=200) == unused
    world.api.delete(f"{case.path}/{unused['id']}", expect=204)
    world.api.delete(f"{case.path}/{unused['id']}", expect=404)
    used = case.agree("percentageDiscount", "0.2")
    case.advance("2026-02-02T00:00:00Z")
    left = world.api.delete(f"{case.path}/{used['id']}", expect=200)
    assert left == {**used, "effectiveTo": "2026-02-01T00:00:00Z"}
    assert world.api.delete(f"{case.path}/{used['id']}", expect=200) == left
    assert world.api.get(case.path)["data"] == [left]
    case.use("2026-01-20T10:15:00Z", 10)
    case.advance("2026-03-02T00:00:00Z")
    # February has none of it, and late usage of January still has.
    assert case.lines(1) == [("Tokens", "0.00"), ("Platform fee", "30.00"), ("Tokens (late usage)", "8.00")]
    told = OutboxEvent.objects.filter(event_type__startswith="subscription_adjustment").order_by("pk")
    assert [event.event_type.split(".")[1] for event in told] == ["created", "withdrawn", "created", "withdrawn"]


def test_unused_prepaid_fees_come_back_as_they_were_billed(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    case.world.pay(case.subscription["payment"]["invoiceId"])
    Plan.objects.update(credit_unused_at_end=True)
    case.agree("percentageDiscount", "0.5")
    case.advance("2026-02-15T00:00:00Z")
    assert case.lines(1)[1:] == [("Platform fee", "30.00"), ("Discount: Platform fee", "-15.00")]
    world.api.post(f"/v0/subscriptions/{case.subscription['id']}/termination", {"reason": "x"}, expect=200)
    case.advance("2026-03-02T00:00:00Z")
    # 14 of the 28 days of February, of the 15.00 that were billed.
    assert ("Unused: Platform fee", "-7.50") in case.lines(2)


def test_pauses_give_back_and_bill_again_with_the_percentages_off(world: World) -> None:
    case = Case(world, fee={"paymentTerm": "in_advance"})
    case.world.pay(case.subscription["payment"]["invoiceId"])
    case.agree("percentageDiscount", "0.5")
    path = f"/v0/subscriptions/{case.subscription['id']}"
    # Half of February, of the 15.00 that were billed; at once it is undone.
    case.advance("2026-02-15T00:00:00Z")
    world.api.post(f"{path}/pause", expect=200)
    assert ("Unused: Platform fee", "-7.50") in case.lines(2)
    world.api.post(f"{path}/resume", expect=200)
    assert [name for name, _ in case.lines(2)] == ["Tokens", "Platform fee", "Discount: Platform fee"]
    # A week of it, in the end.
    world.api.post(f"{path}/pause", expect=200)
    case.advance("2026-02-22T00:00:00Z")
    world.api.post(f"{path}/resume", expect=200)
    assert ("Unused: Platform fee", "-3.75") in case.lines(2)
    case.advance("2026-03-02T00:00:00Z")
    assert world.invoices(case.subscription["id"])[2]["grandTotal"] == "11.25"
    # What a pause beyond a bill gave back is billed again with it: ten days of April's thirty, at half.
    case.advance("2026-03-21T00:00:00Z")
    world.api.post(f"{path}/pause", expect=200)
    case.advance("2026-04-21T00:00:00Z")
    world.api.post(f"{path}/resume", expect=200)
    assert case.lines(4)[1:] == [
        ("Platform fee", "30.00"),
        ("Discount: Platform fee", "-15.00"),
        ("Platform fee (resumed)", "10.00"),
        ("Discount: Platform fee (resumed)", "-5.00"),
    ]


@pytest.mark.parametrize("percent", ["0.333", "1"])
def test_a_year_paid_at_a_discount_is_paused_and_resumed_over_its_bills(world: World, percent: str) -> None:
    case = Case(
        world, fee={"paymentTerm": "in_advance", "billingCadence": "P1Y", "properties": {"unitPrice": "365.00"}}
    )
    case.world.pay(case.subscription["payment"]["invoiceId"])
    case.agree("percentageDiscount", percent)
    path = f"/v0/subscriptions/{case.subscription['id']}"
    kept = 1 - Decimal(percent)
    case.advance("2027-02-01T00:00:00Z")  # the second year is billed with it
    for month in range(2, 6):
        case.advance(f"2027-{month:02d}-10T00:00:00Z")
        world.api.post(f"{path}/pause", expect=200)
        case.advance(f"2027-{month + 1:02d}-05T00:00:00Z")
        world.api.post(f"{path}/resume", expect=200)
    case.advance("2027-07-02T00:00:00Z")
    paused = (23 - 0) + (26 - 0) + (25 - 0) + (26 - 0)  # days from the 10th of each month to the 5th of the next
    lines = InvoiceLine.objects.filter(price_revision__price__public_id=case.fee, period_start__year=2027)
    net = sum((line.gross for line in lines), Decimal(0))
    assert abs(net - (365 - paused) * kept) <= Decimal("0.04")
    for line in InvoiceLine.objects.all():
        assert recompute(line.provenance) == line.gross


def test_coming_invoices_show_what_is_agreed(world: World) -> None:
    case = Case(world)
    case.agree("percentageDiscount", "0.1")
    case.agree("minimumQuantity", "2", case.fee)
    path = f"/v2/invoices/projected?subscriptionId={case.subscription['id']}"
    assert [row["grandTotal"] for row in world.api.get(path)["data"]] == ["54.00"]
    assert world.invoices(case.subscription["id"])[0]["grandTotal"] == "54.00"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "coupon"}, "type"),
        ({"type": "percentageDiscount", "percentageDiscount": "0"}, "percentageDiscount"),
        ({"type": "percentageDiscount", "percentageDiscount": "1.01"}, "percentageDiscount"),
        ({"type": "percentageDiscount", "percentageDiscount": "0.1234567"}, "percentageDiscount"),
        ({"type": "percentageDiscount", "percentageDiscount": "1e-1"}, "percentageDiscount"),
        ({"type": "percentageDiscount", "percentageDiscount": 0.5}, "percentageDiscount"),
        ({"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveFrom": "soon"}, "effectiveFrom"),
        (
            {"type": "percentageDiscount", "percentageDiscount": "0.5", "effectiveTo": "2026-01-01T00:00:00Z"},
            "effectiveTo",
        ),
        ({"type": "usageDiscount", "usageDiscount": "1_000", "targetPriceIds": ["$usage"]}, "usageDiscount"),
        ({"type": "usageDiscount", "usageDiscount": "-1", "targetPriceIds": ["$usage"]}, "usageDiscount"),
        ({"type": "usageDiscount", "usageDiscount": "9" * 35, "targetPriceIds": ["$usage"]}, "usageDiscount"),
        ({"type": "minimumQuantity", "minimumQuantity": "9" * 16, "targetPriceIds": ["$usage"]}, "minimumQuantity"),
        ({"type": "usageDiscount", "usageDiscount": "1"}, "targetPriceIds"),
        ({"type": "usageDiscount", "usageDiscount": "1", "targetPriceIds": []}, "targetPriceIds"),
        ({"type": "usageDiscount", "usageDiscount": "1", "targetPriceIds": ["$usage", "$fee"]}, "targetPriceIds"),
        ({"type": "usageDiscount", "usageDiscount": "1", "targetPriceIds": ["$fee"]}, "targetPriceIds"),
        ({"type": "usageDiscount", "usageDiscount": "1", "targetPriceIds": ["$rebate"]}, "targetPriceIds"),
        ({"type": "usageDiscount", "usageDiscount": "1", "targetPriceIds": ["$share"]}, "targetPriceIds"),
        ({"type": "minimumQuantity", "minimumQuantity": "1", "targetPriceIds": ["$once"]}, "targetPriceIds"),
        ({"type": "maximumQuantity", "maximumQuantity": "1", "targetPriceIds": ["$other"]}, "targetPriceIds"),
    ],
)
def test_wrong_adjustments_are_refused(world: World, body: dict[str, Any], field: str) -> None:
    product = world.product()
    names = {
        "usage": world.usage_price(world.metric(product)),
        "fee": world.fee_price(product, paymentTerm="in_arrears"),
        "rebate": world.usage_price(world.metric(product), "-1"),
        "share": world.usage_price(world.metric(product), model="percentage", properties={"percentage": "0.1"}),
        "once": world.fee_price(product, billingCadence="P0D"),
    }
    plan = world.plan(product, list(names.values()))
    names["other"] = world.usage_price(world.metric(product))
    subscription = world.subscribe(
        world.customer(), plan, at="2026-01-01T00:00:00Z", clock=world.clock("2026-01-01T00:00:00Z")
    )
    sent = {"effectiveFrom": "2026-01-01T00:00:00Z", **body}
    if "targetPriceIds" in sent:
        sent["targetPriceIds"] = [names[name.removeprefix("$")] for name in sent["targetPriceIds"]]
    answer = world.api.post(f"/v0/subscriptions/{subscription['id']}/adjustments", sent, expect=400)
    assert {problem["field"].split(".")[0] for problem in answer["errors"]} == {field}


def test_nothing_more_is_agreed_with_an_ended_subscription(world: World) -> None:
    case = Case(world)
    world.api.post(f"/v0/subscriptions/{case.subscription['id']}/termination", {"reason": "x"}, expect=200)
    assert case.agree("percentageDiscount", "0.1", expect=409)["code"] == "SUBSCRIPTION_TERMINATED"


def test_people_agree_and_withdraw_in_the_admin(world: World) -> None:
    case = Case(world)
    client = Client()
    client.force_login(world.owner)
    row = Subscription.objects.get(public_id=case.subscription["id"])
    url = reverse("admin:subscriptions_subscription_adjust", args=[row.pk])
    sent = {"type": "usageDiscount", "value": "5", "price": case.fee, "effective_from": "2026-01-01T00:00:00Z",
            "_form_submitted": "1"}  # fmt: skip
    wrong = client.post(url, {**sent, "value": "0", "effective_from": "soon"}).content.decode()
    assert "Must be above 0." in wrong
    assert "Give an instant such as" in wrong
    said = client.post(url, sent, follow=True).content.decode()
    assert "Only usage can be waived" in said
    client.post(url, {**sent, "price": case.usage})
    made = SubscriptionAdjustment.objects.get()
    assert (made.type, made.value, made.price.public_id) == ("usageDiscount", 5, case.usage)  # type: ignore[union-attr]
    listed = client.get(reverse("admin:invoicing_subscriptionadjustment_changelist")).content.decode()
    assert "5 units" in listed
    client.post(reverse("admin:invoicing_subscriptionadjustment_withdraw", args=[made.pk]), {"_form_submitted": "1"})
    assert not SubscriptionAdjustment.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_key_at_once_agrees_once(world: World) -> None:
    case = Case(world)
    body = {
        "type": "percentageDiscount", "percentageDiscount": "0.1", "effectiveFrom": "2026-01-01T00:00:00Z",
        "idempotencyKey": "deal",
    }  # fmt: skip
    answers = at_once([lambda: world.api.call("post", case.path, body).status_code] * 6)
    assert sorted(answers) == [200] * 5 + [201]
    made = SubscriptionAdjustment.objects.get()
    assert made.placed_at == at("2026-01-01T00:00:00Z")
    gone = at_once([lambda: withdraw_adjustment(adjustment_id=made.pk, as_of=made.placed_at)] * 4)
    assert gone == [None] * 4
