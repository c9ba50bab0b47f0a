"""Every operation of the published client that is served, sync and async, with its refusals and its pages."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from paygentic_sdk import errors

from tests.contract.caller import NOW, SERVED, Caller, content_of, event, word

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live")]


def test_every_operation(call: Caller, stack: dict[str, Any]) -> None:
    merchant = stack["merchant_id"]
    described = {"description": "d", "merchant_id": merchant}

    product = call("products", "create", name="P", **described)
    call("products", "update", id=product.id, name="P2")
    assert call("products", "get", id=product.id).name == "P2"
    page = call("products", "list", request={"merchant_id": merchant, "limit": 1, "offset": 1})
    assert (len(page.data), page.pagination.limit, page.pagination.offset) == (1, 1, 1)
    assert page.pagination.total >= 2

    counted = f"ops.{word()}"
    metric = call(
        "billable_metrics", "create", aggregation="SUM", name="Units", unit="u", event_type=counted,
        product_id=product.id, value_property="$.units", **described,
    )  # fmt: skip
    assert call("billable_metrics", "update", id=metric.id, unit="units").unit == "units"
    assert call("billable_metrics", "get", id=metric.id).value_property == "$.units"
    assert call("billable_metrics", "list", merchant_id=merchant, product_id=product.id).data[0].id == metric.id

    fee = call("fees", "create", name="F", product_id=product.id, **described)
    assert call("fees", "update", id=fee.id, name="F2").name == "F2"
    assert call("fees", "get", id=fee.id).name == "F2"
    assert call("fees", "list", merchant_id=merchant, product_id=product.id).pagination.total == 1

    feature = call("features", "create", key="seats", name="Seats", merchant_id=merchant, product_id=product.id)
    assert call("features", "update", id=feature.id, name="Seats 2").name == "Seats 2"
    assert call("features", "get", id=feature.id).key == "seats"
    assert call("features", "list", product_id=product.id).data[0].id == feature.id

    monthly = call(
        "prices", "create", invoice_display_name="Fee", payment_term="in_advance",
        properties={"unit_price": "31.00"}, fee_id=fee.id, billing_cadence="P1M",
    )  # fmt: skip
    usage = call(
        "prices", "create", invoice_display_name="Units", payment_term="in_arrears", model="standard",
        properties={"unit_price": "0.5"}, billable_metric_id=metric.id,
    )  # fmt: skip
    assert call("prices", "update", id=usage.id, invoice_display_name="Units 2").invoice_display_name == "Units 2"
    assert call("prices", "get", id=usage.id).billable_metric_id == metric.id
    assert call("prices", "list", request={"billable_metric_id": metric.id}).data[0].id == usage.id

    plan = call(
        "plans", "create", currency="USD", name="Plan", merchant_id=merchant, product_id=product.id,
        prices=[monthly.id, usage.id],
    )  # fmt: skip
    assert call("plans", "update", id=plan.id, name="Plan 2").name == "Plan 2"
    assert call("plans", "get", id=plan.id).currency == "USD"
    assert call("plans", "list", request={"merchant_id": merchant, "product_id": product.id}).pagination.total == 1
    first = call("plans", "list_plan_versions", id=plan.id).data[0]
    assert first.version_number == 1
    lines = [
        {"price_id": slot.id, "key": slot.key}
        for slot in call("plans", "get_plan_version", id=plan.id, version_number=1).prices
    ]
    minted = call("plans", "mint_plan_version", id=plan.id, prices=lines, based_on_version_id=first.id)
    assert (minted.version_number, minted.is_default, minted.based_on_version_id) == (2, True, first.id)
    call.refused(409, "plans", "mint_plan_version", id=plan.id, prices=[usage.id], based_on_version_id=first.id)
    call.refused(404, "plans", "get_plan_version", id=plan.id, version_number=3)
    rolled_back = call("plans", "transition_plan_version", id=plan.id, version_number=1, default=True)
    assert [slot.id for slot in rolled_back.prices] == [monthly.id, usage.id]

    consumer = {"name": "Ops", "email": f"{word()}@x.test", "address": {"country": "DE"}}
    external = f"ext-{word()}"
    customer = call(
        "customers", "create", merchant_id=merchant, consumer=consumer, external_id=external
    ).customer_id  # fmt: skip
    assert call("customers", "update", id=customer, tax_rates=0.0).tax_rates == {"default": 0.0}
    assert call("customers", "get", id=customer).external_id == external
    assert call("customers", "list", organization_id=merchant, external_id=external).pagination.total == 1
    assert call("plans", "list_available", customer_id=customer, product_id=product.id).data[0].id == plan.id

    clock = call("test_clocks", "create", current_time=NOW, name="ops")
    assert call("test_clocks", "get", id=clock.id).current_time == NOW
    assert call("test_clocks", "list", request={"limit": 1}).data[0].id == clock.id

    subscription = call(
        "subscriptions", "create", name="S", plan_id=plan.id, customer_id=customer, started_at=NOW,
        test_clock_id=clock.id,
    )  # fmt: skip
    assert subscription.payment.amount == "31.00"
    zero = subscription.payment.invoice_id
    assert call("invoices_v2", "record_invoice_payment", id=zero, method="out_of_band").invoice.status == "PAID"
    assert call("subscriptions", "get", id=subscription.id).status == "active"
    changed = call("subscriptions", "update_subscription", id=subscription.id, auto_charge=True)
    assert changed.auto_charge is True
    in_line = call("subscriptions", "reconcile_subscription_features", id=subscription.id)
    assert (in_line.dry_run, in_line.features.added, in_line.features.failed) == (False, [], [])
    portal = call("subscriptions", "generate_portal_link", id=subscription.id, expires_in="PT1H")
    assert portal.url.startswith(f"{stack['base_url']}/portal/")
    with urlopen(portal.url, timeout=20) as page:
        assert b"This period so far" in page.read()
    listed = call("subscriptions", "list", request={"customer_id": customer, "status": ["active"]})
    assert [row.id for row in listed.data] == [subscription.id]

    moved = call(
        "subscriptions", "migrate_subscription_version", id=subscription.id, target_version_number=2,
        timing="next_period",
    )  # fmt: skip
    assert (moved.migration.changed, moved.migration.to_version_number) == (True, 2)
    assert moved.subscription.version_policy == "pinned"
    call.refused(404, "subscriptions", "migrate_subscription_version", id=subscription.id, target_version_number=3)
    targets = {"target_price_ids": [usage.id], "effective_from": NOW}
    bodies = [
        {
            "type": "percentageDiscount",
            "percentage_discount": "0.35",
            "effective_from": NOW,
            "idempotency_key": "deal",
        },
        {"type": "usageDiscount", "usage_discount": "300", **targets},
        {"type": "minimumQuantity", "minimum_quantity": "4", **targets},
        {"type": "maximumQuantity", "maximum_quantity": "9.5", "effective_to": NOW + timedelta(days=90), **targets},
    ]
    agreed = [
        call(
            "subscriptions", "create_subscription_adjustment", id=subscription.id,
            create_subscription_adjustment_request=body,
        )
        for body in [*bodies, bodies[0]]
    ]  # fmt: skip
    assert agreed[0] == agreed.pop()
    assert [row.percentage_discount for row in agreed] == ["0.35", None, None, None]
    assert (agreed[3].maximum_quantity, agreed[3].target_price_ids) == ("9.5", [usage.id])
    found = call("subscriptions", "list_subscription_adjustments", id=subscription.id)
    assert (found.data, found.pagination.total) == (agreed, 4)
    for row in agreed:
        call("subscriptions", "delete_subscription_adjustment", id=subscription.id, adjustment_id=row.id)

    plain = call("subscriptions", "get_subscription_intervals", id=subscription.id).intervals
    assert [(one.price_id, one.kind, one.unit_price, one.end_date) for one in plain] == [
        (monthly.id, "plan_line", None, None), (usage.id, "plan_line", None, None),
    ]  # fmt: skip
    ahead = {
        "price_key": plain[0].price_key, "unit_price": "24.50", "base_quantity": "1", "billing_cadence": "P1M",
        "billing_mode": "advance", "start_date": NOW + timedelta(days=59),
        "quantity_transitions": [{"effective_date": NOW + timedelta(days=69), "quantity": "2"}],
    }  # fmt: skip
    request = {"add": [ahead], "change_reason": "commercial", "description": "Deal", "metadata": {"crm": "D-1"}}
    edited = call(
        "subscriptions", "edit_subscription_intervals", id=subscription.id,
        edit_subscription_intervals_request=request,
    )  # fmt: skip
    assert (edited.unchanged, edited.line_items.created, edited.interval_change.metadata) == (
        False,
        0,
        {"crm": "D-1"},
    )
    override = next(one for one in edited.intervals if one.unit_price is not None)
    assert override.quantity_transitions[0].quantity == "2"
    call.refused(
        409, "subscriptions", "edit_subscription_intervals", id=subscription.id,
        edit_subscription_intervals_request=request,
    )  # fmt: skip
    again = override.model_dump()
    del again["kind"]
    changes = call("subscriptions", "list_subscription_interval_changes", id=subscription.id)
    assert [row.id for row in changes.data] == [edited.interval_change.id]
    for ops, is_unchanged in (({"edit": [again]}, True), ({"remove": [{"id": override.id}]}, False)):
        done = call(
            "subscriptions", "edit_subscription_intervals", id=subscription.id,
            edit_subscription_intervals_request=ops,
        )  # fmt: skip
        assert done.unchanged is is_unchanged
    assert call("subscriptions", "get_subscription_intervals", id=subscription.id).intervals == plain
    listed = call("subscriptions", "list_interval_changes", request={"change_reason": "commercial", "limit": "1"})
    assert listed.data[0].intervals[-1].after.resolved_unit_price == "24.5"

    sent = call("events", "ingest", request=event(counted, customer, 4))
    again = call("events", "ingest", request=event(counted, customer, 4) | {"idempotency_key": word()})
    assert sent.id != again.id
    call("events", "ingest", request=event(counted, None, 2) | {"external_subject": external})

    line = call(
        "invoices_v2", "create_line_item", display_name="Help", currency="USD", quantity=1, unit_price=9.5,
        subscription_id=subscription.id, idempotency_key=word(),
    )  # fmt: skip
    assert line.subtotal == "9.50"
    projected = call("invoices_v2", "list_projected_invoices", subscription_id=subscription.id)
    assert [invoice.grand_total for invoice in projected.data] == ["40.50"]

    reached = call("test_clocks", "advance", id=clock.id, request_body={"advance_by": "P1M"}).current_time
    assert reached == datetime(2026, 2, 22, 12, tzinfo=UTC)
    reached += timedelta(hours=2)
    assert call("test_clocks", "advance", id=clock.id, request_body={"current_time": reached}).current_time == reached

    meter = call("billable_metrics", "meter", id=metric.id, from_=NOW, to=reached, subject=customer)
    assert meter.total_value == 10
    assert len(call("billable_metrics", "list_events", id=metric.id, from_=NOW, to=reached).events) == 3

    closed = next(
        invoice
        for invoice in call("invoices_v2", "list", request={"subscription_id": subscription.id}).data
        if invoice.sequence_number == 1
    )
    # Ten units, the manual line and the next month's fee.
    assert (closed.status, closed.grand_total) == ("ISSUED", "45.50")
    assert call("invoices_v2", "get", id=closed.id).invoice_number == closed.invoice_number
    document = call("invoices_v2", "download_invoice_pdf", id=closed.id)
    assert content_of(call, document).startswith(b"%PDF")
    assert (closed.pdf_source, closed.pdf_url) == ("paygentic", str(document.request.url))
    # What it streams it has read when it refuses, so the words stand on the error alone.
    with pytest.raises(errors.PaygenticError) as caught:
        call("invoices_v2", "download_invoice_pdf", id="inv_00000000000000000000")
    assert (caught.value.status_code, "There is no invoice" in caught.value.body) == (404, True)
    first = call("invoices_v2", "get_line_items", id=closed.id, limit=2)
    rest = call("invoices_v2", "get_line_items", id=closed.id, limit=2, page_token=first.next_page_token)
    assert (first.total_count, len(first.line_items), len(rest.line_items)) == (3, 2, 1)
    assert rest.next_page_token is None
    ledger = call("invoices_v2", "list_line_items", request={"subscription_id": subscription.id, "limit": 2})
    assert (len(ledger.data), ledger.total_count) == (2, 6)

    # Only what is paid is refunded, once; a refund that is voided may be asked for again.
    call.refused(400, "invoices_v2", "create_invoice_refund", id=closed.id)
    refund = call("invoices_v2", "create_invoice_refund", id=zero, reason="Goodwill")
    assert (refund.amount, refund.tax_amount, refund.total, refund.status) == ("31.00", "0.00", "31.00", "ISSUED")
    assert refund.id.startswith("crn_")
    call.refused(400, "invoices_v2", "create_invoice_refund", id=zero)
    assert call("invoices_v2", "get", id=zero).status == "PAID"
    listed = call("invoices_v2", "list_invoice_refunds", id=zero)
    assert [(row.id, row.external_credit_note_id) for row in listed.data] == [
        (refund.id, refund.external_credit_note_id)
    ]
    voided = call("invoices_v2", "void_invoice_refund", id=zero, refund_id=refund.id, reason="Mistake")
    assert (voided.status, voided.voided_at is None) == ("VOIDED", False)
    call.refused(404, "invoices_v2", "void_invoice_refund", id=closed.id, refund_id=refund.id)
    assert call("invoices_v2", "create_invoice_refund", id=zero).total == "31.00"

    ended = call("subscriptions", "terminate", id=subscription.id, reason="done")
    person = call("users", "get", id=ended.terminated_by)
    assert person.organizations[0].id == merchant
    assert call("users", "update", id=person.id, phone="+33 1").phone == "+33 1"

    spare_fee = call("fees", "create", name="Spare", product_id=product.id, **described)
    spare = call(
        "prices", "create", invoice_display_name="Spare", payment_term="in_advance",
        properties={"unit_price": "1"}, fee_id=spare_fee.id, billing_cadence="P0D",
    )  # fmt: skip
    call.refused(409, "fees", "delete", id=spare_fee.id)
    call("prices", "delete", id=spare.id)
    call("fees", "delete", id=spare_fee.id)
    call.refused(404, "fees", "get", id=spare_fee.id)
    call("features", "delete", id=feature.id)
    nobody = call(
        "customers", "create", merchant_id=merchant, consumer={**consumer, "email": f"{word()}@x.test"}
    ).customer_id  # fmt: skip
    call("customers", "delete", id=nobody)
    call.refused(404, "customers", "get", id=nobody)
    assert call("test_clocks", "delete", id=clock.id).deleted_at is not None

    assert call.called == SERVED
