"""Credit notes, refunds and balances as the wire has them, and what is asked for them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from rest_framework import serializers

from apps.invoicing.api.tax_shapes import render_tax
from apps.invoicing.models import BalanceEntry, CreditNote, CreditNoteStatus, InvoiceLine
from apps.invoicing.services.crediting import PlannedCredit
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.shapes import page_of
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant


class CreditLineInputSerializer(serializers.Serializer[Any]):
    lineId = StrictCharField(max_length=64)
    amount = DecimalStringField(places=9)


class PreviewCreditNoteSerializer(serializers.Serializer[Any]):
    """What is credited: everything that is left, an `amount` with tax, or amounts of `lines` without tax."""

    amount = DecimalStringField(places=9, required=False)
    lines = CreditLineInputSerializer(many=True, required=False, max_length=1000)  # type: ignore[call-arg]
    destination = serializers.ChoiceField(choices=["balance", "refund"], default="balance")
    voidGrant = serializers.BooleanField(
        default=False, help_text="Of a purchase: take back what is left of the units that it bought."
    )
    voidBurst = serializers.BooleanField(default=False, help_text="Of a purchase: end the burst that it bought.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if "amount" in data and "lines" in data:
            raise serializers.ValidationError({"amount": "Give an amount or lines, not both."}, code="invalid")
        named = [line["lineId"] for line in data.get("lines", ())]
        if len(named) != len(set(named)):
            raise serializers.ValidationError({"lines": "Name each line once."}, code="invalid")
        return data


class CreateCreditNoteSerializer(PreviewCreditNoteSerializer):
    reason = StrictCharField(max_length=1000)


class VoidSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(max_length=1000, required=False, allow_blank=True)


class RefundSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(max_length=1000, required=False, allow_blank=True)


class PaidOutSerializer(serializers.Serializer[Any]):
    reference = StrictCharField(max_length=255)


class CreditedTaxSerializer(serializers.Serializer[Any]):
    """What is given back of one of a line's taxes, where a registration decided them."""

    name = serializers.CharField()
    jurisdiction = serializers.CharField()
    percent = serializers.CharField()
    amount = serializers.CharField()


class CreditedLineSerializer(serializers.Serializer[Any]):
    lineId = serializers.CharField()
    displayName = serializers.CharField()
    subtotal = serializers.CharField()
    taxRate = serializers.CharField()
    tax = serializers.CharField()
    taxes = CreditedTaxSerializer(many=True)
    total = serializers.CharField()


class PlannedCreditSerializer(serializers.Serializer[Any]):
    """What a credit note would say; `dueAfter` and `leftAfter` are of its invoice."""

    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    total = serializers.CharField()
    dueAmount = serializers.CharField()
    balanceAmount = serializers.CharField()
    refundAmount = serializers.CharField()
    dueAfter = serializers.CharField()
    leftAfter = serializers.CharField()
    lines = CreditedLineSerializer(many=True)


class CreditNoteSerializer(serializers.Serializer[Any]):
    """A credit note; the three amounts say where its total went."""

    object = serializers.CharField()
    id = serializers.CharField()
    creditNoteNumber = serializers.CharField()
    status = serializers.ChoiceField(choices=CreditNoteStatus.values)
    merchantId = serializers.CharField()
    customerId = serializers.CharField()
    invoiceId = serializers.CharField()
    invoiceNumber = serializers.CharField()
    currency = serializers.CharField()
    subtotal = serializers.CharField()
    totalTax = serializers.CharField()
    total = serializers.CharField()
    dueAmount = serializers.CharField()
    balanceAmount = serializers.CharField()
    refundAmount = serializers.CharField()
    refundStatus = serializers.ChoiceField(choices=["none", "pending", "paid_out", "voided"])
    refundReference = serializers.CharField(allow_null=True)
    reason = serializers.CharField()
    voidReason = serializers.CharField(allow_null=True)
    issuedAt = InstantField()
    refundedAt = InstantField(allow_null=True)
    voidedAt = InstantField(allow_null=True)
    lines = CreditedLineSerializer(many=True)
    pdfUrl = serializers.CharField()
    createdAt = InstantField()


class InvoiceRefundSerializer(serializers.Serializer[Any]):
    """A credit note in the words of the contract; `amount` is without tax."""

    object = serializers.CharField()
    id = serializers.CharField()
    invoiceId = serializers.CharField()
    merchantId = serializers.CharField()
    amount = serializers.CharField()
    taxAmount = serializers.CharField()
    total = serializers.CharField()
    currency = serializers.CharField()
    status = serializers.ChoiceField(choices=CreditNoteStatus.values)
    externalCreditNoteId = serializers.CharField()
    createdAt = InstantField()
    permalink = serializers.CharField(allow_null=True)
    pdfUrl = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    voidedAt = InstantField(allow_null=True)


class InvoiceRefundListSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = InvoiceRefundSerializer(many=True)  # type: ignore[assignment]


class BalanceSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    amount = serializers.CharField()


class BalanceEntrySerializer(serializers.Serializer[Any]):
    """A change of the balance; `amount` is what it adds, below zero what it takes."""

    object = serializers.CharField()
    id = serializers.CharField()
    kind = serializers.CharField()
    amount = serializers.CharField()
    currency = serializers.CharField()
    creditNoteId = serializers.CharField(allow_null=True)
    invoiceId = serializers.CharField(allow_null=True)
    occurredAt = InstantField()


class CustomerBalanceSerializer(page_of(BalanceEntrySerializer)):  # type: ignore[misc]
    customerId = serializers.CharField()
    balances = BalanceSerializer(many=True)


def render_credit_note(note: CreditNote) -> dict[str, Any]:
    """Give a credit note in the wire's form."""
    currency = note.currency
    return {
        "object": "creditNote",
        "id": note.public_id,
        "creditNoteNumber": note.number,
        "status": note.status,
        "merchantId": note.organization.public_id,
        "customerId": note.customer.public_id,
        "invoiceId": note.invoice.public_id,
        "invoiceNumber": note.invoice.number,
        "currency": currency,
        "subtotal": format_amount(note.subtotal, currency),
        "totalTax": format_amount(note.total_tax, currency),
        "total": format_amount(note.total, currency),
        "dueAmount": format_amount(note.due_amount, currency),
        "balanceAmount": format_amount(note.balance_amount, currency),
        "refundAmount": format_amount(note.refund_amount, currency),
        "refundStatus": note.refund_state,
        "refundReference": note.refund_reference or None,
        "reason": note.reason,
        "voidReason": note.void_reason or None,
        "issuedAt": format_instant(note.issued_at),
        "refundedAt": None if note.refunded_at is None else format_instant(note.refunded_at),
        "voidedAt": None if note.voided_at is None else format_instant(note.voided_at),
        "lines": [
            _line(line.invoice_line, line.subtotal, line.tax_amount, line.tax_parts or (), currency)
            for line in note.lines.all()
        ],
        "pdfUrl": _pdf_url(note),
        "createdAt": format_instant(note.created_at),
    }


def render_plan(plan: PlannedCredit, currency: str) -> dict[str, Any]:
    """Give what a credit note would say."""
    return {
        "currency": currency,
        "subtotal": format_amount(plan.subtotal, currency),
        "totalTax": format_amount(plan.total_tax, currency),
        "total": format_amount(plan.total, currency),
        "dueAmount": format_amount(plan.goes.due, currency),
        "balanceAmount": format_amount(plan.goes.balance, currency),
        "refundAmount": format_amount(plan.goes.refund, currency),
        "dueAfter": format_amount(plan.due_after, currency),
        "leftAfter": format_amount(plan.left_after, currency),
        "lines": [_line(line, credit.net, credit.tax, credit.taxes, currency) for line, credit in plan.credits],
    }


def render_refund(note: CreditNote) -> dict[str, Any]:
    """Give a credit note as the contract has refunds."""
    currency = note.currency
    return {
        "object": "invoice_refund",
        "id": note.public_id,
        "invoiceId": note.invoice.public_id,
        "merchantId": note.organization.public_id,
        "amount": format_amount(note.subtotal, currency),
        "taxAmount": format_amount(note.total_tax, currency),
        "total": format_amount(note.total, currency),
        "currency": currency,
        "status": note.status,
        "externalCreditNoteId": note.number,
        "createdAt": format_instant(note.created_at),
        "permalink": None,
        "pdfUrl": _pdf_url(note),
        "reason": note.reason,
        "voidedAt": None if note.voided_at is None else format_instant(note.voided_at),
    }


def render_entry(entry: BalanceEntry) -> dict[str, Any]:
    """Give a change of a balance in the wire's form."""
    return {
        "object": "balanceEntry",
        "id": entry.public_id,
        "kind": entry.kind,
        "amount": format_amount(entry.amount, entry.currency),
        "currency": entry.currency,
        "creditNoteId": None if entry.credit_note is None else entry.credit_note.public_id,
        "invoiceId": None if entry.invoice is None else entry.invoice.public_id,
        "occurredAt": format_instant(entry.occurred_at),
    }


def _line(line: InvoiceLine, net: Decimal, tax: Decimal, parts: Sequence[Decimal], currency: str) -> dict[str, Any]:
    components = line.decision.components if line.decision is not None else ()
    return {
        "lineId": line.public_id,
        "displayName": line.display_name,
        "subtotal": format_amount(net, currency),
        "taxRate": format_decimal(line.tax_rate),
        "tax": format_amount(tax, currency),
        "taxes": [render_tax(one, part, currency) for one, part in zip(components, parts or (tax,), strict=False)],
        "total": format_amount(net + tax, currency),
    }


def _pdf_url(note: CreditNote) -> str:
    return f"{settings.BASE_URL}/v2/creditNotes/{note.public_id}/pdf"
