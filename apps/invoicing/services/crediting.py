"""Credit notes: what is given back of an issued invoice, and where it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from apps.invoicing.domain.crediting import (
    Credit,
    Creditable,
    Destinations,
    credit_amount,
    credit_net,
    credit_whole,
    destinations_of,
)
from apps.invoicing.events import CreditNoteIssued, CreditNoteRefunded, CreditNoteVoided
from apps.invoicing.models import (
    CreditNote,
    CreditNoteLine,
    CreditNoteStatus,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    PaymentSession,
    SessionStatus,
)
from apps.invoicing.selectors.credits import creditable_of, refundable_amount
from apps.invoicing.selectors.invoices import with_neighbours
from apps.invoicing.selectors.purchases import find_purchase
from apps.invoicing.services.activation import activate_paid_subscription
from apps.invoicing.services.balances import credit_balance, void_credit
from apps.invoicing.services.fulfilling import void_bought
from apps.invoicing.services.numbers import next_number
from apps.invoicing.services.settlement import lock_for_settlement, mark_paid
from apps.invoicing.services.turns import take_credit_turns
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.money import format_money, round_money
from apps.outbox.services import publish

CREDITED = (InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED, InvoiceStatus.PAID)
UNPAID = (InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class CreditRequest:
    """What is to be given back: everything that is left, an amount, or amounts of lines.

    Attributes:
        amount: with tax, major units; shared out over what is left of the lines.
        lines: amounts without tax, major units, by the public ids of lines.
        wants_refund: what is not due any more is paid back as far as it was paid, instead of going to the balance.
        voids_grant: of a purchase of units: what is left of them is taken back.
        voids_burst: of a purchase of slots: their burst ends.
    """

    reason: str = ""
    amount: Decimal | None = None
    lines: Mapping[str, Decimal] | None = None
    wants_refund: bool = False
    voids_grant: bool = False
    voids_burst: bool = False


@dataclass(frozen=True, slots=True)
class PlannedCredit:
    """What a credit note would say.

    Attributes:
        credits: with the invoice line that each is of, in document order.
        due_after: what would still be due of the invoice.
        left_after: what could still be credited of it, with tax.
    """

    credits: Sequence[tuple[InvoiceLine, Credit]]
    subtotal: Decimal
    total_tax: Decimal
    goes: Destinations
    due_after: Decimal
    left_after: Decimal

    @property
    def total(self) -> Decimal:
        return self.subtotal + self.total_tax


def plan_credit(*, invoice: Invoice, asked: CreditRequest) -> PlannedCredit:
    """Say what a credit note would give back, without making it.

    Raises:
        ConflictError: the invoice is not issued, or nothing is left of it.
        InvalidError: more is asked than is left, or of a line that it does not have; the bad field is named.
    """
    if invoice.status not in CREDITED:
        raise ConflictError(
            "Only an issued or paid invoice can be credited.",
            code="INVOICE_NOT_CREDITABLE",
            details={"status": invoice.status},
        )
    if invoice.is_purchase and invoice.status != InvoiceStatus.PAID:
        raise ConflictError("Nothing was paid for this purchase yet; void the invoice instead.", code="PURCHASE_OPEN")
    sold = find_purchase(invoice)
    if asked.voids_grant and (sold is None or sold.is_burst):
        raise _refused("voidGrant", "This invoice bought no grant.")
    if asked.voids_burst and (sold is None or not sold.is_burst):
        raise _refused("voidBurst", "This invoice bought no burst.")
    charges, rows = creditable_of(invoice)
    left = sum((charge.left for charge in charges), ZERO)
    if left <= 0:
        raise ConflictError("Nothing is left of this invoice to credit.", code="INVOICE_CREDITED")
    credits = _credits(invoice, charges, rows, left, asked)
    subtotal = sum((credit.net for credit in credits), ZERO)
    total_tax = sum((credit.tax for credit in credits), ZERO)
    total = subtotal + total_tax
    due = max(invoice.unpaid_amount, ZERO)
    refundable = refundable_amount(invoice) if asked.wants_refund else ZERO
    goes = destinations_of(total, due=due, refundable=refundable)
    return PlannedCredit(
        credits=[(rows[credit.line_id], credit) for credit in credits],
        subtotal=subtotal,
        total_tax=total_tax,
        goes=goes,
        due_after=due - goes.due,
        left_after=left - total,
    )


@transaction.atomic
def issue_credit_note(*, invoice_id: int, asked: CreditRequest, as_of: datetime) -> CreditNote:
    """Credit an issued invoice: a numbered document, less that is due, and the rest to the balance or as a refund.

    An invoice of which nothing is due any more is settled, with all that follows from that.

    Raises:
        ConflictError: the invoice is not issued, or nothing is left of it.
        InvalidError: more is asked than is left, or of a line that it does not have; the bad field is named.
    """
    lock_for_settlement(invoice_id=invoice_id)
    invoice = with_neighbours(Invoice.objects.all()).get(pk=invoice_id)
    take_credit_turns([invoice.subscription_id, *invoice.members.values_list("subscription_id", flat=True)])
    plan = plan_credit(invoice=invoice, asked=asked)
    [number] = next_number(organization=invoice.organization, as_of=as_of, kind="credit_note")
    note = CreditNote.objects.create(
        organization_id=invoice.organization_id,
        invoice=invoice,
        customer_id=invoice.customer_id,
        number=number,
        currency=invoice.currency,
        subtotal=plan.subtotal,
        total_tax=plan.total_tax,
        total=plan.total,
        due_amount=plan.goes.due,
        balance_amount=plan.goes.balance,
        refund_amount=plan.goes.refund,
        reason=asked.reason[:1000],
        issued_at=as_of,
    )
    for line, credit in plan.credits:
        CreditNoteLine.objects.create(
            organization_id=invoice.organization_id,
            credit_note=note,
            invoice_line=line,
            display_name=line.display_name,
            subtotal=credit.net,
            tax_rate=line.tax_rate,
            tax_amount=credit.tax,
            tax_parts=list(credit.taxes) or None,
            total=credit.total,
        )
    _announce(
        note,
        CreditNoteIssued(
            credit_note_id=note.public_id,
            credit_note_number=note.number,
            invoice_id=invoice.public_id,
            total=note.total,
            due_amount=note.due_amount,
            balance_amount=note.balance_amount,
            refund_amount=note.refund_amount,
            currency=note.currency,
        ),
        as_of,
    )
    if asked.voids_grant or asked.voids_burst:
        void_bought(invoice=invoice, as_of=as_of)
    if note.balance_amount:
        credit_balance(note=note, as_of=as_of)
    if note.due_amount:
        invoice.credited_amount += note.due_amount
        invoice.save(update_fields=["credited_amount", "updated_at"])
        _follow_due(invoice)
        if not invoice.unpaid_amount:
            mark_paid(invoice=invoice, as_of=as_of, note=f"Credited by {number}")
            if invoice.sequence_number == 0:
                activate_paid_subscription(subscription_id=invoice.subscription_id, as_of=as_of)
    return note


@transaction.atomic
def void_credit_note(*, credit_note_id: int, as_of: datetime, reason: str = "") -> CreditNote:
    """Take a credit note back that nothing came of yet; a voided one is given back as it is.

    Raises:
        ConflictError: its refund was paid out, its credit paid an invoice, or its invoice was settled with it.
    """
    invoice_id = CreditNote.objects.values_list("invoice_id", flat=True).get(pk=credit_note_id)
    invoice = lock_for_settlement(invoice_id=invoice_id)
    note = _locked(credit_note_id)
    if note.status == CreditNoteStatus.VOIDED:
        return note
    if note.refunded_at is not None:
        raise ConflictError("Its refund was paid out, so it cannot be voided.", code="CREDIT_NOTE_REFUNDED")
    # One that is written off is not settled: what the note took off is due again, should anybody pay after all.
    if note.due_amount and invoice.status not in (*UNPAID, InvoiceStatus.WRITTEN_OFF):
        raise ConflictError(
            "Its invoice was settled with it, so it cannot be voided; bill the amount again instead.",
            code="CREDIT_NOTE_USED",
        )
    if note.balance_amount:
        void_credit(note=note, as_of=as_of)
    note.status, note.voided_at, note.void_reason = CreditNoteStatus.VOIDED, as_of, reason[:1000]
    note.save(update_fields=["status", "voided_at", "void_reason", "updated_at"])
    if note.due_amount:
        invoice.credited_amount -= note.due_amount
        invoice.save(update_fields=["credited_amount", "updated_at"])
        _follow_due(invoice)
    _announce(
        note,
        CreditNoteVoided(credit_note_id=note.public_id, invoice_id=invoice.public_id, total=note.total),
        as_of,
    )
    return note


@transaction.atomic
def record_refund(*, credit_note_id: int, as_of: datetime, reference: str) -> CreditNote:
    """Write down that the refund of a credit note was paid out, out of band; twice is fine.

    Raises:
        ConflictError: it has no refund, or is voided.
    """
    note = _locked(credit_note_id)
    if note.refund_state == "paid_out":
        return note
    if note.refund_state != "pending":
        raise ConflictError(
            "There is no refund of this credit note to pay out.",
            code="CREDIT_NOTE_HAS_NO_REFUND",
            details={"refundStatus": note.refund_state},
        )
    note.refunded_at, note.refund_reference = as_of, reference[:255]
    note.save(update_fields=["refunded_at", "refund_reference", "updated_at"])
    _announce(
        note,
        CreditNoteRefunded(
            credit_note_id=note.public_id,
            invoice_id=note.invoice.public_id,
            refund_amount=note.refund_amount,
            currency=note.currency,
        ),
        as_of,
    )
    return note


def _credits(
    invoice: Invoice,
    charges: Sequence[Creditable],
    rows: Mapping[int, InvoiceLine],
    left: Decimal,
    asked: CreditRequest,
) -> list[Credit]:
    currency = invoice.currency
    if asked.lines is not None:
        return credit_net(charges, _amounts(invoice, charges, rows, asked.lines), currency=currency)
    if asked.amount is None:
        return credit_whole(charges, currency=currency)
    _check("amount", asked.amount, left, currency)
    return credit_amount(charges, asked.amount, currency=currency)


def _amounts(
    invoice: Invoice, charges: Sequence[Creditable], rows: Mapping[int, InvoiceLine], asked: Mapping[str, Decimal]
) -> dict[int, Decimal]:
    """Check amounts of lines; gives them by the lines' keys."""
    known = {rows[charge.line_id].public_id: charge for charge in charges}
    amounts = {}
    for public_id, amount in asked.items():
        charge = known.get(public_id)
        if charge is None:
            raise _refused(
                "lines", f"The invoice has no charge {public_id}; discounts are in what charges are worth."
            )
        _check("lines", amount, charge.left_net, invoice.currency, of=f" of {public_id}, without tax")
        amounts[charge.line_id] = amount
    if not amounts:
        raise _refused("lines", "Give at least one line, or leave it out to credit the whole invoice.")
    return amounts


def _check(field: str, amount: Decimal, left: Decimal, currency: str, of: str = "") -> None:
    if amount <= 0:
        raise _refused(field, "Give an amount above 0.")
    if round_money(amount, currency) != amount:
        raise _refused(field, f"Give an amount in whole minor units of {currency}.")
    if amount > left:
        raise _refused(field, f"At most {format_money(max(left, ZERO), currency)} is left{of}.")


def _refused(field: str, message: str) -> InvalidError:
    return InvalidError(message, errors=[FieldError(field, message, "invalid")])


def _locked(credit_note_id: int) -> CreditNote:
    return (
        CreditNote.objects.select_for_update(of=("self",), no_key=True)
        .select_related("invoice")
        .get(pk=credit_note_id)
    )


def _follow_due(invoice: Invoice) -> None:
    """Let the open payment page ask for what is due now; where nothing is, it ends."""
    for session in PaymentSession.objects.filter(invoice=invoice, status=SessionStatus.PENDING):
        if invoice.unpaid_amount > 0:
            session.amount = invoice.unpaid_amount
        else:
            session.status = SessionStatus.CANCELLED
        session.save(update_fields=["amount", "status", "updated_at"])


def _announce(note: CreditNote, event: object, as_of: datetime) -> None:
    publish(event, organization_id=note.organization_id, object_id=note.public_id, at=as_of)
