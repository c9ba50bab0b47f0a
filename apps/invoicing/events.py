"""What invoicing announces."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.outbox.domain.events import outbox_event


@outbox_event("invoice.created.v0")
@dataclass(frozen=True, slots=True)
class InvoiceCreated:
    invoice_id: str
    subscription_id: str
    sequence_number: int
    period_start: datetime
    period_end: datetime
    part: int = 0


@outbox_event("invoice.issued.v0")
@dataclass(frozen=True, slots=True)
class InvoiceIssued:
    invoice_id: str
    invoice_number: str
    grand_total: Decimal
    currency: str


@outbox_event("invoice.consolidated.v0")
@dataclass(frozen=True, slots=True)
class InvoiceConsolidated:
    """It is issued on a document with others, which is announced as issued and as paid in its place."""

    invoice_id: str
    subscription_id: str
    consolidated_invoice_id: str


@outbox_event("invoice.paid.v0")
@dataclass(frozen=True, slots=True)
class InvoicePaid:
    """One of a purchase names the grant or the burst that was bought."""

    invoice_id: str
    paid_amount: Decimal
    currency: str
    grant_id: str | None = None
    slot_burst_id: str | None = None


@outbox_event("credit_note.issued.v0")
@dataclass(frozen=True, slots=True)
class CreditNoteIssued:
    """The three amounts say where the total goes: off what was due, to the customer's balance, to be paid back."""

    credit_note_id: str
    credit_note_number: str
    invoice_id: str
    total: Decimal
    due_amount: Decimal
    balance_amount: Decimal
    refund_amount: Decimal
    currency: str


@outbox_event("credit_note.voided.v0")
@dataclass(frozen=True, slots=True)
class CreditNoteVoided:
    credit_note_id: str
    invoice_id: str
    total: Decimal


@outbox_event("credit_note.refunded.v0")
@dataclass(frozen=True, slots=True)
class CreditNoteRefunded:
    """The refund was paid out."""

    credit_note_id: str
    invoice_id: str
    refund_amount: Decimal
    currency: str


@outbox_event("customer_balance.changed.v0")
@dataclass(frozen=True, slots=True)
class CustomerBalanceChanged:
    """A credit came, paid an invoice (`invoice_id`), came back from one, or was voided; `amount` is what it adds.

    A credit is of a credit note, or of an invoice that came to less than zero.
    """

    customer_id: str
    kind: str
    amount: Decimal
    currency: str
    credit_note_id: str | None
    invoice_id: str | None


@outbox_event("invoice.failed.v0")
@dataclass(frozen=True, slots=True)
class InvoiceFailed:
    invoice_id: str
    reason: str


@outbox_event("invoice.voided.v0")
@dataclass(frozen=True, slots=True)
class InvoiceVoided:
    """It was given up before it was paid; `amount` was due of it."""

    invoice_id: str
    invoice_number: str | None
    amount: Decimal
    currency: str
    reason: str


@outbox_event("invoice.written_off.v0")
@dataclass(frozen=True, slots=True)
class InvoiceWrittenOff:
    """`amount` of it is not asked for any more."""

    invoice_id: str
    invoice_number: str | None
    amount: Decimal
    currency: str
    reason: str


@outbox_event("invoice.reinstated.v0")
@dataclass(frozen=True, slots=True)
class InvoiceReinstated:
    """It was written off, and `amount` of it is due again."""

    invoice_id: str
    invoice_number: str | None
    amount: Decimal
    currency: str
    reason: str


@outbox_event("billing_run.completed.v0")
@dataclass(frozen=True, slots=True)
class BillingRunCompleted:
    """Every invoice of the run was calculated, or set aside as failed."""

    billing_run_id: str
    issued: int
    drafts: int
    failed: int


@outbox_event("billing_threshold.passed.v0")
@dataclass(frozen=True, slots=True)
class BillingThresholdPassed:
    """Usage reached an amount; `invoice_id` is the early bill of it, None when all had been billed before."""

    subscription_id: str
    period_number: int
    threshold: Decimal
    amount: Decimal
    currency: str
    invoice_id: str | None


@outbox_event("alert.changed.v0")
@dataclass(frozen=True, slots=True)
class AlertChanged:
    alert_id: str
    subscription_id: str
    is_deleted: bool


@outbox_event("alert.triggered.v0")
@dataclass(frozen=True, slots=True)
class AlertTriggered:
    alert_id: str
    subscription_id: str
    name: str
    type: str
    threshold: Decimal
    value: Decimal
    period_number: int


@outbox_event("subscription_adjustment.created.v0")
@dataclass(frozen=True, slots=True)
class AdjustmentCreated:
    adjustment_id: str
    subscription_id: str
    type: str
    value: Decimal
    effective_from: datetime
    effective_to: datetime | None


@outbox_event("subscription_adjustment.withdrawn.v0")
@dataclass(frozen=True, slots=True)
class AdjustmentWithdrawn:
    """It is deleted, or ends at the end of the last period that was billed with it."""

    adjustment_id: str
    subscription_id: str
    effective_to: datetime | None


@outbox_event("coupon.applied.v0")
@dataclass(frozen=True, slots=True)
class CouponApplied:
    applied_coupon_id: str
    coupon_id: str
    customer_id: str
    subscription_id: str | None


@outbox_event("coupon.removed.v0")
@dataclass(frozen=True, slots=True)
class CouponRemoved:
    """It is deleted where no invoice used it; else it reduces nothing that ends from now on."""

    applied_coupon_id: str
    coupon_id: str


@outbox_event("spend_agreement.created.v0")
@dataclass(frozen=True, slots=True)
class SpendAgreed:
    spend_agreement_id: str
    subscription_id: str
    kind: str
    amount: Decimal | None
    effective_from: datetime
    effective_to: datetime | None


@outbox_event("spend_agreement.withdrawn.v0")
@dataclass(frozen=True, slots=True)
class SpendWithdrawn:
    """It is deleted, or ends at the end of the last period that was billed with it."""

    spend_agreement_id: str
    subscription_id: str
    effective_to: datetime | None


@outbox_event("payment_session.completed.v0")
@dataclass(frozen=True, slots=True)
class PaymentSessionCompleted:
    payment_session_id: str
    invoice_id: str
    amount: Decimal
    currency: str
