"""Rights that come with a plan or by hand, over the API."""

from decimal import Decimal
from typing import Any

import pytest

from apps.entitlements.models import Entitlement
from tests.entitlements.kit import MILLION, START, Kit


def test_subscribing_gives_the_features_of_the_plan(kit: Kit) -> None:
    tokens, sso, tier = kit.feature(), kit.feature("sso", "boolean"), kit.feature("tier", "static")
    fee = kit.world.fee_price(kit.product, "0.00", feature={"featureId": sso})
    other = kit.world.fee_price(
        kit.product, "0.00", feature={"featureId": tier, "entitlementTemplate": {"config": {"seats": 5}}}
    )
    customer, subscription, _ = kit.subscriber([kit.price(tokens, MILLION), fee, other])
    kit.use(customer, "2026-01-01T00:00:00Z", 1500)
    found = {row["featureKey"]: row for row in kit.rights(customer, "&at=2026-01-10T00:00:00Z")}
    assert set(found) == {"tokens", "sso", "tier"}
    assert found["sso"]["featureType"] == "boolean"
    assert found["sso"]["hasAccess"] is True
    assert found["sso"]["config"] is None
    assert found["tier"]["config"] == {"seats": 5}
    metered = found["tokens"]
    assert metered["balance"] == 998_500
    assert metered["usageInPeriod"] == 1500
    assert metered["overage"] == 0
    assert metered["isSoftLimit"] is False
    assert metered["subscriptionId"] == subscription
    assert metered["activeFrom"] == START
    assert (metered["currentPeriodStart"], metered["currentPeriodEnd"]) == (START, "2026-02-01T00:00:00Z")


def test_a_reset_gives_the_allowance_anew_and_any_time_can_be_asked(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    kit.use(customer, "2026-01-20T00:00:00Z", 1_300_000)
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    kit.use(customer, "2026-02-01T12:00:00Z", 1000)
    now = kit.right(customer)
    assert (now["balance"], now["usageInPeriod"], now["overage"]) == (999_000, 1000, 0)
    before = kit.right(customer, "&at=2026-01-20T00:00:00Z")
    assert (before["balance"], before["hasAccess"]) == (1_000_000, True)
    used_up = kit.right(customer, "&at=2026-01-31T00:00:00Z")
    assert (used_up["balance"], used_up["overage"], used_up["hasAccess"]) == (0, 300_000, False)


def test_the_end_of_the_subscription_ends_its_rights(kit: Kit) -> None:
    customer, subscription, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    entitlement = kit.right(customer)["entitlementId"]
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)
    assert kit.rights(customer) == []
    ended = kit.world.api.get(f"/v1/entitlements/{entitlement}")
    assert (ended["status"], ended["activeTo"], ended["hasAccess"]) == ("canceled", "2026-01-10T00:00:00Z", False)
    blocked = kit.world.api.delete(f"/v0/customers/{customer}", expect=409)
    assert "entitlements" not in {row["type"] for row in blocked["details"]["blockers"]}


def test_a_right_by_hand_conflicts_with_one_that_is_there(kit: Kit) -> None:
    feature = kit.feature("sso", "boolean")
    customer = kit.world.customer()
    body: dict[str, Any] = {"customerId": customer, "featureId": feature, "template": {"type": "boolean"}}
    made = kit.world.api.post("/v1/entitlements", {**body, "metadata": {"why": "trial"}})
    assert made["object"] == "entitlement"
    assert made["metadata"] == {"why": "trial"}
    kit.world.api.post("/v1/entitlements", body, expect=409)
    assert kit.world.api.delete(f"/v1/entitlements/{made['id']}", expect=200)["status"] == "canceled"
    kit.world.api.post("/v1/entitlements", {**body, "activeTo": "2026-01-01T00:00:00Z"}, expect=400)
    again = kit.world.api.post("/v1/entitlements", {**body, "activeTo": "2090-01-01T00:00:00Z"})
    assert again["activeTo"] == "2090-01-01T00:00:00Z"


def test_a_template_must_fit_its_feature(kit: Kit) -> None:
    customer = kit.world.customer()
    feature = kit.feature()
    for template in (
        {"type": "boolean"},
        {"usagePeriod": {"interval": "soon"}},
        {"issueAfterReset": -1},
        {"issueAfterResetPriority": 1.5},
        {"isSoftLimit": "yes"},
        {"quota": 3},
    ):
        body = {"customerId": customer, "featureId": feature, "template": template}
        refused = kit.world.api.post("/v1/entitlements", body, expect=400)
        assert refused["errors"][0]["field"].startswith("template.")
        kit.world.api.post(
            "/v0/prices",
            {
                "invoiceDisplayName": "Tokens",
                "paymentTerm": "in_arrears",
                "properties": {"unitPrice": "1"},
                "billableMetricId": kit.metric,
                "feature": {"featureId": feature, "entitlementTemplate": template},
            },
            expect=400,
        )


def test_units_of_a_template_are_exact(kit: Kit) -> None:
    template = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 10.5, "resetMaxRollover": 0.000000001}
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), template)])
    assert kit.right(customer)["balance"] == 10.5
    row = Entitlement.objects.get()
    assert (row.allowance, row.rollover_max) == (Decimal("10.5"), Decimal("0.000000001"))


def test_numbers_of_a_static_feature_keep_every_digit(kit: Kit) -> None:
    long = "123456789012.1234567890123456789"
    feature, customer = kit.feature("tier", "static"), kit.world.customer()
    client, headers = kit.world.api.client, {"Authorization": f"Bearer {kit.world.secret}"}

    def issue(number: str) -> Any:
        template = f'{{"config": {{"at": [{number}]}}}}'
        body = f'{{"customerId": "{customer}", "featureId": "{feature}", "template": {template}}}'
        return client.post("/v1/entitlements", body, content_type="application/json", headers=headers)

    assert issue(long).status_code == 201
    row = Entitlement.objects.get()
    assert row.config == {"at": [Decimal(long)]}
    assert row.template == {"config": {"at": [Decimal(long)]}}
    row.save()
    answer = client.get(f"/v1/entitlements/{row.public_id}", headers=headers)
    assert f'"config":{{"at":[{long}]}}' in answer.content.decode()
    for unstorable in ("1e999999", "1e-999999"):
        refused = issue(unstorable)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"] == "template.config"


def test_filters_need_what_they_need(kit: Kit) -> None:
    customer, subscription, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    get = kit.world.api.get
    get("/v1/entitlements", expect=400)
    get(f"/v1/entitlements?customerId={customer}&featureKey=tokens", expect=400)
    get("/v1/entitlements?customerId=cus_nobody", expect=404)
    get("/v1/entitlements/ent_nothing", expect=404)
    assert len(kit.rights(customer, f"&featureKey=tokens&productId={kit.product}")) == 1
    assert kit.rights(customer, f"&featureKey=others&productId={kit.product}") == []
    assert len(kit.rights(customer, f"&subscriptionId={subscription}")) == 1
    assert kit.rights(customer, "&subscriptionId=sub_other") == []


def test_grants_burn_before_the_allowance_and_what_is_voided_is_gone(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    entitlement = kit.right(customer)["entitlementId"]
    path = f"/v1/entitlements/{entitlement}/grants"
    made = kit.world.api.post(path, {"amount": 500.0, "idempotencyKey": "a"})
    assert made["resetMaxRollover"] == 999_999_999_999
    assert made["effectiveAt"] == START
    assert kit.world.api.post(path, {"amount": 500.0, "idempotencyKey": "a"})["id"] == made["id"]
    kit.world.api.post(path, {"amount": 400, "idempotencyKey": "a"}, expect=409)
    kit.world.api.post(path, {"amount": 0, "idempotencyKey": "b"}, expect=400)
    short = {"amount": 50, "idempotencyKey": "c", "expiresAt": "2026-01-05T00:00:00Z", "priority": -3}
    kit.world.api.post(path, short)
    assert kit.right(customer)["balance"] == 1_000_550
    kit.use(customer, "2026-01-01T00:00:00Z", 100)
    kit.world.advance(clock, "2026-01-03T00:00:00Z")
    # 50 of the one that expires, 50 of the other: neither the reset nor the expiry has anything more to take.
    assert kit.right(customer)["balance"] == 1_000_450
    voided = kit.world.api.delete(f"{path}/{made['id']}", expect=200)
    assert voided["voidedAt"] == "2026-01-03T00:00:00Z"
    assert kit.world.api.delete(f"{path}/{made['id']}", expect=200) == voided
    assert kit.right(customer)["balance"] == 1_000_000
    assert [row["idempotencyKey"] for row in kit.world.api.get(path)["data"]] == ["c"]
    assert len(kit.world.api.get(f"{path}?includeVoided=true")["data"]) == 2


def test_a_grant_rolls_over_and_the_allowance_does_not(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), MILLION)])
    path = f"/v1/entitlements/{kit.right(customer)['entitlementId']}/grants"
    kit.world.api.post(path, {"amount": 500, "idempotencyKey": "kept", "priority": 9})
    kit.world.api.post(path, {"amount": 70, "idempotencyKey": "lost", "priority": 9, "resetMaxRollover": 20})
    kit.world.advance(clock, "2026-02-02T00:00:00Z")
    assert kit.right(customer)["balance"] == 1_000_520


def test_another_version_of_the_plan_moves_rights_at_the_boundary(kit: Kit) -> None:
    tokens, extra = kit.feature(), kit.feature("extra", "boolean")
    price = kit.price(tokens, {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 100})
    plan = kit.world.plan(kit.product, [price])
    clock, customer = kit.world.clock(START), kit.world.customer()
    subscription = kit.world.subscribe(customer, plan, at=START, clock=clock)["id"]
    right = kit.right(customer)["entitlementId"]
    path = f"/v1/entitlements/{right}/grants"
    kit.world.api.post(path, {"amount": 40, "idempotencyKey": "mine", "priority": -1})
    kit.use(customer, "2026-01-01T00:00:00Z", 10)
    fee = kit.world.fee_price(kit.product, "0.00", feature={"featureId": extra})
    changed = {"usagePeriod": {"interval": "P1M"}, "issueAfterReset": 250}
    kit.world.api.patch(f"/v0/prices/{price}", {"feature": {"featureId": tokens, "entitlementTemplate": changed}})
    kit.world.api.patch(f"/v0/plans/{plan}", {"prices": [price, fee]})
    kit.world.advance(clock, "2026-02-01T00:00:00Z")
    found = {row["featureKey"]: row for row in kit.rights(customer)}
    # The grant came along with what was left of it.
    assert found["tokens"]["balance"] == 250 + 30
    assert found["extra"]["activeFrom"] == "2026-02-01T00:00:00Z"
    kit.world.api.post(f"/v0/subscriptions/{subscription}/termination", {"reason": "gone"}, expect=200)


@pytest.mark.django_db(transaction=True)
def test_the_answer_after_an_event_can_be_consistent(kit: Kit) -> None:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    kit.use(customer, START, 7)
    assert kit.right(customer, "&consistent=true")["balance"] == 999_993
    kit.world.send(customer, START, tokens=1)
    late = kit.world.api.get(f"/v1/entitlements?customerId={customer}&consistent=true", expect=503)
    assert late["code"] == "USAGE_BEHIND"


def test_one_call_answers_many_questions(kit: Kit) -> None:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    ask = {"customerId": customer, "featureKey": "tokens", "productId": kit.product}
    answers = kit.check(
        {**ask, "quantity": 1_000_000},
        {**ask, "quantity": 1_000_001},
        {**ask, "featureKey": "others"},
        {**ask, "quantity": 400_000, "reserveSeconds": 60},
        {**ask, "quantity": 600_001},
        {**ask, "quantity": 600_000},
    )
    assert [row["allowed"] for row in answers] == [True, False, False, True, False, True]
    assert [row["reason"] for row in answers[1:3]] == ["limit_reached", "not_entitled"]
    held = answers[3]["reservation"]
    assert (held["status"], held["quantity"], held["expiresAt"]) == ("held", 400_000, "2026-01-01T00:01:00Z")
    assert answers[5]["available"] == 600_000
    kit.check({**ask, "reserveSeconds": 60}, expect=400)
    kit.check({"customerId": customer}, expect=400)


@pytest.mark.django_db(transaction=True)
def test_a_reservation_is_settled_released_or_expires(kit: Kit) -> None:
    template = {"issueAfterReset": 10}
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), template)])
    ask = {"customerId": customer, "featureKey": "tokens", "productId": kit.product, "reserveSeconds": 60}
    post = kit.world.api.post
    (first,) = kit.check({**ask, "quantity": 6, "idempotencyKey": "r1"})
    assert kit.check({**ask, "quantity": 6, "idempotencyKey": "r1"})[0]["reservation"] == first["reservation"]
    assert kit.check({**ask, "quantity": 6})[0]["allowed"] is False
    one = first["reservation"]["id"]
    kit.world.send(customer, START, tokens=5)
    # Its event is not counted yet, so the units are not free yet either.
    post(f"/v1/reservations/{one}/settlement", expect=503)
    assert kit.check({**ask, "quantity": 5})[0]["allowed"] is False
    kit.use(customer, START, 0)
    assert post(f"/v1/reservations/{one}/settlement", expect=200)["status"] == "settled"
    assert post(f"/v1/reservations/{one}/settlement", expect=200)["status"] == "settled"
    post(f"/v1/reservations/{one}/release", expect=409)
    (second,) = kit.check({**ask, "quantity": 5})
    two = second["reservation"]["id"]
    assert post(f"/v1/reservations/{two}/release", expect=200)["status"] == "released"
    (third,) = kit.check({**ask, "quantity": 5})
    kit.world.advance(clock, "2026-01-01T00:01:00Z")
    three = third["reservation"]["id"]
    assert kit.world.api.get(f"/v1/reservations/{three}")["status"] == "expired"
    assert kit.check({**ask, "quantity": 5})[0]["allowed"] is True
    post(f"/v1/reservations/{three}/settlement", expect=409)
