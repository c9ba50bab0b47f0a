"""Invoices, lines and subscriptions as the wire has them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings

from apps.catalog.models import PriceRevision
from apps.catalog.selectors.terms import revisions_by_id
from apps.invoicing.api.provenance import render_provenance
from apps.invoicing.api.purchase_shapes import purchased_name, render_purchased
from apps.invoicing.api.tax_shapes import render_line_tax
from apps.invoicing.domain.targets import TargetLine, Totals
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, PaymentSession, Purchase
from apps.invoicing.selectors.invoices import (
    find_pending_session,
    listed_lines,
    live_lines,
    members_of,
    stored_lines,
    totals,
)
from apps.invoicing.selectors.purchases import purchases_on
from apps.invoicing.services.issuing import line_public_id
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.timeline import chosen_quantities

LINKABLE = (InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED)


def checkout_url(session: PaymentSession) -> str:
    return f"{settings.BASE_URL}/checkout/{session.public_id}"


def provider_of(invoice: Invoice) -> str:
    """Say who takes the money behind an invoice's payment page: the sandbox, or else the merchant's own bank."""
    return "sandbox" if invoice.organization.environment == "test" else "bank_transfer"


def render_invoice(
    invoice: Invoice,
    lines: Sequence[TargetLine] | None,
    members: Sequence[Invoice] | None = None,
    purchases: Mapping[int, Purchase] | None = None,
) -> dict[str, Any]:
    """Give an invoice in the wire's form.

    Args:
        lines: its lines as they are now while it is open, None once they are stored.
        members: those of a document of several invoices, if they are at hand.
        purchases: by invoice key what was sold, if it is at hand.
    """
    sums, count = totals(invoice, lines)
    currency = invoice.currency
    subscription = invoice.subscription
    due = format_amount(_unpaid(invoice, sums), currency)
    body: dict[str, Any] = {
        "id": invoice.public_id,
        "object": "invoice",
        "status": invoice.status,
        "autoApprove": invoice.auto_approve,
        "merchantId": invoice.organization.public_id,
        "customerId": invoice.customer.public_id,
        "subscriptionId": subscription.public_id,
        "sequenceNumber": invoice.sequence_number,
        "part": invoice.part,
        "invoiceNumber": invoice.number,
        "billingAnchor": format_instant(subscription.billing_anchor),
        "billingCadence": subscription.billing_cadence,
        "periodStart": format_instant(invoice.period_start),
        "periodEnd": format_instant(invoice.period_end),
        "gracePeriodEnd": format_instant(invoice.grace_period_end),
        "nextActionAt": _instant(_next_action(invoice)),
        "currency": currency,
        "subtotal": format_amount(sums.subtotal, currency),
        "totalTax": format_amount(sums.total_tax, currency),
        "grandTotal": format_amount(sums.grand_total, currency),
        "paidAmount": format_amount(invoice.paid_amount, currency),
        "creditedAmount": format_amount(invoice.credited_amount, currency),
        "balanceApplied": format_amount(invoice.balance_applied, currency),
        "amountDue": due,
        "unpaidAmount": due,
        "itemCount": count,
        "issuedAt": _instant(invoice.issued_at),
        "dueAt": _instant(invoice.due_at),
        "paidAt": _instant(invoice.paid_at),
        "metadata": invoice.metadata,
        "consolidatedInvoiceId": invoice.consolidated_into.public_id if invoice.consolidated_into else None,
        "createdAt": format_instant(invoice.created_at),
        "updatedAt": format_instant(invoice.updated_at),
        "paymentUrl": None,
        "pdfUrl": f"{settings.BASE_URL}/v2/invoices/{invoice.public_id}/pdf" if invoice.number else None,
        "pdfSource": "paygentic" if invoice.number else None,
    }
    if invoice.has_members:
        found = members if members is not None else members_of([invoice])[invoice.pk]
        body["members"] = [_member(member) for member in found]
    if invoice.is_purchase:
        purchase = (purchases if purchases is not None else purchases_on([invoice]))[invoice.pk]
        body[purchased_name(purchase)] = render_purchased(purchase)
    if invoice.failure_reason:
        body["failureReason"] = invoice.failure_reason
    if invoice.status in LINKABLE and invoice.unpaid_amount > 0:
        session = find_pending_session(invoice)
        if session is not None:
            body["paymentUrl"] = checkout_url(session)
    return body


def _unpaid(invoice: Invoice, sums: Totals) -> Decimal:
    """Give what is to be paid by an invoice, also while it is open."""
    is_stored = invoice.status in (InvoiceStatus.CONSOLIDATED, InvoiceStatus.CANCELLED)
    return invoice.unpaid_amount if is_stored else sums.grand_total - invoice.settled_amount


def _member(invoice: Invoice) -> dict[str, Any]:
    """Give an invoice as it stands on the document of several."""
    return {
        "id": invoice.public_id,
        "subscriptionId": invoice.subscription.public_id,
        "sequenceNumber": invoice.sequence_number,
        "periodStart": format_instant(invoice.period_start),
        "periodEnd": format_instant(invoice.period_end),
        "subtotal": format_amount(invoice.subtotal, invoice.currency),
        "totalTax": format_amount(invoice.total_tax, invoice.currency),
        "grandTotal": format_amount(invoice.grand_total, invoice.currency),
    }


def render_invoices(invoices: Sequence[Invoice]) -> list[dict[str, Any]]:
    """Give a page of invoices; the open ones with live totals, computed together, or with why there are none."""
    live, members, sold = listed_lines(invoices), members_of(invoices), purchases_on(invoices)
    return [render_invoice(invoice, live.get(invoice.pk), members.get(invoice.pk), sold) for invoice in invoices]


def lines_of(invoice: Invoice) -> tuple[list[TargetLine | InvoiceLine], Mapping[int, PriceRevision]]:
    """Give the lines of an invoice, live or stored, and the price revisions they go by."""
    live = live_lines([invoice]).get(invoice.pk)
    rows: list[TargetLine | InvoiceLine] = list(live) if live is not None else list(stored_lines(invoice))
    ids = {row.price_revision_id for row in rows if row.price_revision_id is not None}
    return rows, revisions_by_id(ids)


def render_invoice_line(
    invoice: Invoice,
    line: TargetLine | InvoiceLine,
    revisions: Mapping[int, PriceRevision],
    *,
    with_provenance: bool,
) -> dict[str, Any]:
    """Give a line in the shape that stands on an invoice."""
    revision = revisions.get(line.price_revision_id) if line.price_revision_id else None
    metric = revision.metric if revision is not None else None
    fee = revision.fee if revision is not None else None
    source = metric or fee
    is_discount = line.kind in {"discount", "adjustment"}
    event_type = "usage" if line.kind == "metered" else "discount" if is_discount else "fee"
    body: dict[str, Any] = {
        "id": public_id_of(invoice, line),
        "eventType": event_type,
        "eventId": public_id_of(invoice, line),
        "eventSourceId": source.public_id if source is not None else "",
        "billableMetricId": source.public_id if source is not None else "",
        "invoiceDisplayName": line.display_name,
        "lineItemType": "refund" if line.gross < 0 else "charge",
        "meterEventId": "",
        "metricDescription": source.description if source is not None else "",
        "metricName": source.name if source is not None else line.display_name,
        "metricUnit": metric.unit if metric is not None else "",
        "quantity": _number(line.quantity),
        "unitPrice": format_decimal(line.unit_price),
        "taxRate": _number(line.tax_rate / 100),
        "totalPrice": format_amount(line.subtotal, invoice.currency),
        "totalTax": format_amount(line.tax_amount, invoice.currency),
        "totalAmount": format_amount(line.total, invoice.currency),
        "itemId": None,
        "priceId": revision.price.public_id if revision is not None else None,
        "periodStart": format_instant(line.period_start),
        "periodEnd": format_instant(line.period_end),
        "paymentTerm": line.payment_term or None,
        "isLate": line.is_late,
        "subscriptionId": _billed_on(invoice, line).subscription.public_id,
    }
    body["tax"] = render_line_tax(line, invoice.currency)
    if with_provenance:
        body["provenance"] = render_provenance(_billed_on(invoice, line), line)
    return body


def render_line_item(
    invoice: Invoice,
    line: TargetLine | InvoiceLine,
    revisions: Mapping[int, PriceRevision],
    *,
    with_provenance: bool,
) -> dict[str, Any]:
    """Give a line in the shape of the lines ledger: pending while its invoice is open, then invoiced."""
    dated = line if isinstance(line, InvoiceLine) else invoice
    is_pending = invoice.issued_at is None
    is_estimate = is_pending and line.kind == "metered"
    revision = revisions.get(line.price_revision_id) if line.price_revision_id else None
    currency = invoice.currency
    quantity = format_decimal(line.quantity)
    body: dict[str, Any] = {
        "id": public_id_of(invoice, line),
        "subscriptionId": invoice.subscription.public_id,
        "customerId": invoice.customer.public_id,
        "invoiceId": invoice.public_id,
        "type": line.kind,
        "status": "pending" if is_pending else "invoiced",
        "displayName": line.display_name,
        "description": line.description or None,
        "currency": currency,
        "periodStart": format_instant(line.period_start),
        "periodEnd": format_instant(line.period_end),
        "invoiceAt": format_instant(invoice.issued_at or invoice.period_end),
        "unitPrice": format_decimal(line.unit_price),
        "createdAt": format_instant(dated.created_at),
        "updatedAt": format_instant(dated.updated_at),
        "priceId": revision.price.public_id if revision is not None else None,
        "itemId": None,
        "calculatedAt": _instant(invoice.calculated_at),
        "quantity": None if is_estimate else quantity,
        "meteredQuantity": _metered_quantity(line) if line.kind == "metered" and not is_pending else None,
        "usageDiscountIds": _waived_by(line),
        "paymentTerm": line.payment_term or None,
    }
    if is_estimate:
        body["estimatedMeteredQuantity"] = _metered_quantity(line)
        body["estimatedSubtotal"] = format_amount(line.subtotal, currency)
    else:
        body["subtotal"] = format_amount(line.subtotal, currency)
        body["taxesTotal"] = format_amount(line.tax_amount, currency)
        body["total"] = format_amount(line.total, currency)
    body["tax"] = render_line_tax(line, invoice.currency)
    if with_provenance:
        body["provenance"] = render_provenance(_billed_on(invoice, line), line)
    return body


def _metered_quantity(line: TargetLine | InvoiceLine) -> str:
    """Give what was measured; a correction is of the difference that it bills."""
    measured = line.provenance.get("inputs", {}).get("quantity", {}).get("value")
    return format_decimal(line.quantity) if line.is_late or measured is None else str(measured)


def _waived_by(line: TargetLine | InvoiceLine) -> list[str]:
    """Give the usage discounts that reduced a line's quantity."""
    return [
        adjustment
        for step in line.provenance.get("steps", [])
        if step["op"] == "subtract" and step["on"] == "quantity"
        # What an allowance pays for is no discount.
        for adjustment in step["params"].get("adjustmentIds", ())
    ]


def _billed_on(invoice: Invoice, line: TargetLine | InvoiceLine) -> Invoice:
    """Give the invoice that a line is of: on a document of several, one of its members."""
    return line.invoice if invoice.has_members and isinstance(line, InvoiceLine) else invoice


def public_id_of(invoice: Invoice, line: TargetLine | InvoiceLine) -> str:
    return line.public_id or line_public_id(invoice.public_id, line.reference)


def render_subscription(subscription: Subscription, *, with_customer: bool = False) -> dict[str, Any]:
    """Give a subscription in the wire's form; a scheduled one waits like one that waits for money."""
    status = subscription.status
    body: dict[str, Any] = {
        "id": subscription.public_id,
        "object": "subscription",
        "merchantId": subscription.organization.public_id,
        "customerId": subscription.customer.public_id,
        "planId": subscription.plan.public_id,
        "planVersionId": subscription.plan_version.public_id,
        "versionNumber": subscription.plan_version.number,
        "versionPolicy": subscription.version_policy,
        "name": subscription.name,
        "status": "pending_payment" if status == SubscriptionStatus.SCHEDULED else status,
        "startedAt": format_instant(subscription.started_at),
        "elapsedPeriodBilling": subscription.elapsed_period_billing,
        "billingStartsAt": format_instant(subscription.billing_starts_at),
        "billingAnchor": format_instant(subscription.billing_anchor),
        "billingCadence": subscription.billing_cadence,
        "paymentTermDays": subscription.payment_term_days,
        "autoCharge": subscription.auto_charge,
        "taxExempt": subscription.tax_exempt,
        "renewalReminderEnabled": subscription.renewal_reminder_enabled,
        "renewalReminderDays": subscription.renewal_reminder_days,
        "autoApprove": subscription.auto_approve,
        "metadata": subscription.metadata,
        "items": [
            {"priceKey": key, "quantity": format_decimal(quantity)}
            for key, quantity in chosen_quantities(subscription).items()
        ],
        "createdAt": format_instant(subscription.created_at),
        "updatedAt": format_instant(subscription.updated_at),
    }
    optional = {
        "endingAt": _instant(subscription.ending_at),
        "cancelsAt": _instant(subscription.cancels_at),
        "termPeriods": subscription.term_periods,
        "termNumber": subscription.term_number or None,
        "termEndsAt": _instant(subscription.term_ends_at),
        "autoRenew": subscription.auto_renew if subscription.term_periods else None,
        "remindedAt": _instant(subscription.reminded_at),
        "pausedAt": _instant(subscription.paused_at),
        "trialEndsAt": _instant(subscription.trial_ends_at),
        "trialUsage": subscription.trial_usage if subscription.trial_ends_at else None,
        "nextPlanId": subscription.next_plan.public_id if subscription.next_plan else None,
        "replacesSubscriptionId": subscription.replaces.public_id if subscription.replaces else None,
        "terminatedAt": _instant(subscription.terminated_at),
        "terminatedBy": subscription.terminated_by or None,
        "terminationReason": subscription.termination_reason or None,
        "terminationChangeReason": subscription.termination_change_reason or None,
        "minimumAccountBalance": subscription.minimum_account_balance or None,
        "testClockId": subscription.test_clock.public_id if subscription.test_clock else None,
        "payment": render_payment(subscription),
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    if with_customer:
        body["customer"] = _customer(subscription)
    return body


def render_payment(subscription: Subscription) -> dict[str, Any] | None:
    """Say how Invoice 0 stands: to be paid (and where), to be approved, or paid; None when there is none."""
    invoice = (
        Invoice.objects.filter(subscription=subscription, sequence_number=0)
        .exclude(status=InvoiceStatus.CANCELLED)
        .first()
    )
    if invoice is None:
        return None
    amount = format_amount(invoice.grand_total, invoice.currency)
    if invoice.status == InvoiceStatus.PAID:
        shown = amount if invoice.grand_total else "0"
        return {"status": "paid", "invoiceId": invoice.public_id, "amount": shown}
    if invoice.status == InvoiceStatus.DRAFT:
        return {"status": "awaiting_approval", "invoiceId": invoice.public_id, "amount": amount}
    session = PaymentSession.objects.filter(invoice=invoice).order_by("-id").first()
    if session is None:
        return None
    due = format_amount(invoice.unpaid_amount, invoice.currency)
    return {
        "status": "pending",
        "amount": due,
        "breakdown": {
            "upfrontCharges": due,
            "walletCharge": format_amount(Decimal(0), invoice.currency),
        },
        "checkoutUrl": checkout_url(session),
        "paymentSessionId": session.public_id,
        "invoiceId": invoice.public_id,
    }


def _customer(subscription: Subscription) -> dict[str, Any]:
    customer, merchant = subscription.customer, subscription.organization
    consumer = customer.consumer
    return {
        "id": customer.public_id,
        "merchantId": merchant.public_id,
        "merchant": {"id": merchant.public_id, "name": merchant.name, "email": merchant.email},
        "consumer": {"id": consumer.public_id, "name": consumer.name, "email": consumer.email},
    }


def _next_action(invoice: Invoice) -> Any:
    return invoice.period_end if invoice.status == InvoiceStatus.ACTIVE else invoice.next_action_at


def _instant(value: Any) -> str | None:
    return None if value is None else format_instant(value)


def _number(value: Decimal) -> int | Decimal:
    return int(value) if value == value.to_integral_value() else value.normalize()
