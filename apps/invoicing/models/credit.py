from typing import ClassVar

import pghistory
import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.invoicing.models.charge_sql import DECLARED, OF_CREDIT
from apps.invoicing.models.line import sum_of
from apps.kernel.models import AmountField, CurrencyCodeField, Entity


class CreditNoteStatus(models.TextChoices):
    ISSUED = "ISSUED", "Issued"
    VOIDED = "VOIDED", "Voided"


FROZEN_COLUMNS = (
    "organization_id",
    "invoice_id",
    "customer_id",
    "number",
    "currency",
    "subtotal",
    "total_tax",
    "total",
    "due_amount",
    "balance_amount",
    "refund_amount",
    "reason",
    "issued_at",
)


@pghistory.track(exclude=["updated_at"])
class CreditNote(Entity):
    """What is given back of an issued invoice, whole or in part: a document of its own that never changes.

    It takes off what is due of the invoice first; the rest goes to the customer's balance or is to be refunded.
    """

    PREFIX: ClassVar[str] = "crn"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="credit_notes")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=6, choices=CreditNoteStatus, default=CreditNoteStatus.ISSUED)
    number = models.CharField(max_length=40, editable=False)
    currency = CurrencyCodeField()
    subtotal = AmountField(help_text="Without tax.")
    total_tax = AmountField()
    total = AmountField()
    due_amount = AmountField(help_text="Off what was due of the invoice.")
    balance_amount = AmountField(help_text="To the customer's balance.")
    refund_amount = AmountField(help_text="To be paid back.")
    reason = models.CharField(max_length=1000)
    issued_at = models.DateTimeField(help_text="In the subscription's time.")
    refunded_at = models.DateTimeField(null=True, blank=True, help_text="When the refund was paid out.")
    refund_reference = models.CharField(max_length=255, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = models.CharField(max_length=1000, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "number"], name="creditnote_number_once"),
            models.CheckConstraint(name="creditnote_status_known", condition=Q(status__in=CreditNoteStatus.values)),
            models.CheckConstraint(
                name="creditnote_totals_add_up", condition=Q(total=F("subtotal") + F("total_tax"), total__gt=0)
            ),
            models.CheckConstraint(
                name="creditnote_goes_somewhere",
                condition=Q(
                    total=F("due_amount") + F("balance_amount") + F("refund_amount"),
                    due_amount__gte=0,
                    balance_amount__gte=0,
                    refund_amount__gte=0,
                ),
            ),
            models.CheckConstraint(
                name="creditnote_voided_has_instant",
                condition=Q(status="VOIDED", voided_at__isnull=False)
                | Q(status="ISSUED", voided_at__isnull=True, void_reason=""),
            ),
            # Money that left cannot be taken back by a void.
            models.CheckConstraint(
                name="creditnote_refunded_is_issued",
                condition=Q(refunded_at__isnull=True, refund_reference="") | Q(status="ISSUED", refund_amount__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="creditnote_list"),
            models.Index(fields=["customer", "-id"], name="creditnote_of_customer"),
        ]
        triggers = [
            pgtrigger.Protect(
                name="credit_is_frozen",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.status = 'VOIDED' OR ROW("
                    + ", ".join(f"OLD.{column}" for column in FROZEN_COLUMNS)
                    + ") IS DISTINCT FROM ROW("
                    + ", ".join(f"NEW.{column}" for column in FROZEN_COLUMNS)
                    + ")"
                ),
            ),
            pgtrigger.Protect(name="credit_is_kept", operation=pgtrigger.Delete),
            # Whoever writes: the lock makes two at once wait for each other, so the sum is the true one.
            pgtrigger.Trigger(
                name="credits_stay_within_invoice",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("billed", "numeric"), ("credited", "numeric"), ("of_number", "text")],
                func="""
                    SELECT grand_total, number INTO billed, of_number FROM invoicing_invoice
                    WHERE id = NEW.invoice_id AND status NOT IN ('CANCELLED', 'WRITTEN_OFF') FOR NO KEY UPDATE;
                    SELECT COALESCE(sum(total), 0) INTO credited FROM invoicing_creditnote
                    WHERE invoice_id = NEW.invoice_id AND status = 'ISSUED';
                    IF of_number IS NULL OR credited + NEW.total > billed THEN
                        RAISE EXCEPTION 'credit notes never exceed their invoice' USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.Trigger(
                name="credit_is_its_lines",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                declare=[("net", "numeric"), ("tax", "numeric")],
                func="""
                    SELECT COALESCE(sum(subtotal), 0), COALESCE(sum(tax_amount), 0) INTO net, tax
                    FROM invoicing_creditnoteline WHERE credit_note_id = NEW.id;
                    IF net <> NEW.subtotal OR tax <> NEW.total_tax THEN
                        RAISE EXCEPTION 'a credit note is the sum of its lines' USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.number

    @property
    def refund_state(self) -> str:
        """Whether money is to be paid back: none, pending, paid_out or voided."""
        if not self.refund_amount:
            return "none"
        if self.status == CreditNoteStatus.VOIDED:
            return "voided"
        return "pending" if self.refunded_at is None else "paid_out"


class CreditNoteLine(Entity):
    """What a credit note gives back of one line of its invoice."""

    PREFIX: ClassVar[str] = "cnl"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    credit_note = models.ForeignKey(CreditNote, on_delete=models.PROTECT, related_name="lines")
    invoice_line = models.ForeignKey("invoicing.InvoiceLine", on_delete=models.PROTECT, related_name="+")
    display_name = models.CharField(max_length=255)
    subtotal = AmountField(help_text="Without tax.")
    tax_rate = models.DecimalField(max_digits=7, decimal_places=4, default=0, help_text="Percent.")
    tax_amount = AmountField()
    tax_parts = ArrayField(AmountField(), null=True, blank=True, help_text="The tax by rate, where it has several.")
    total = AmountField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="creditnoteline_taxes_add_up",
                condition=Q(tax_parts__isnull=True) | Q(tax_amount=sum_of("tax_parts")),
            ),
            models.UniqueConstraint(fields=["credit_note", "invoice_line"], name="creditnoteline_once"),
            models.CheckConstraint(
                name="creditnoteline_total_adds_up", condition=Q(total=F("subtotal") + F("tax_amount"))
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="credit_line_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete),
            # Whatever later bills gave back of the same charge is taken into account.
            pgtrigger.Trigger(
                name="credits_stay_within_charge",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                declare=DECLARED,
                func=OF_CREDIT,
            ),
            # With its tax or without: where a rate has no charge, its tax is below zero on charges of another.
            pgtrigger.Trigger(
                name="credits_stay_within_line",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("billed", "numeric"), ("credited", "numeric")],
                func="""
                    SELECT GREATEST(line.subtotal, line.gross) INTO billed FROM invoicing_invoiceline line
                    JOIN invoicing_invoice billing ON billing.id = line.invoice_id
                    WHERE line.id = NEW.invoice_line_id AND COALESCE(billing.consolidated_into_id, billing.id) = (
                        SELECT invoice_id FROM invoicing_creditnote WHERE id = NEW.credit_note_id
                    ) FOR NO KEY UPDATE OF line;
                    SELECT LEAST(
                        COALESCE(sum(line.subtotal), 0) + NEW.subtotal, COALESCE(sum(line.total), 0) + NEW.total
                    ) INTO credited FROM invoicing_creditnoteline line
                    JOIN invoicing_creditnote note ON note.id = line.credit_note_id
                    WHERE line.invoice_line_id = NEW.invoice_line_id AND note.status = 'ISSUED';
                    IF billed IS NULL OR credited > billed THEN
                        RAISE EXCEPTION 'credits of a line never exceed it' USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.display_name


class CustomerBalance(models.Model):
    """What a merchant holds for a customer in one currency: the sum of its entries, kept by their trigger alone.

    Its row is the lock of whoever uses the balance.
    """

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    currency = CurrencyCodeField()
    amount = AmountField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "currency"], name="customerbalance_once"),
            models.CheckConstraint(name="customerbalance_not_negative", condition=Q(amount__gte=0)),
        ]
        triggers = [
            pgtrigger.Protect(
                name="balance_is_the_sum",
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Condition("pg_trigger_depth() = 0"),
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer} {self.currency}"


class BalanceEntryKind(models.TextChoices):
    CREDIT = "credit", "Credit"
    USE = "use", "Paid an invoice"
    RETURN = "return", "Invoice cancelled"
    VOID = "void", "Credit voided"


class BalanceEntry(Entity):
    """A change of a customer's balance; never changed, corrected by another one.

    Attributes:
        source: the credit that is used, returned to or voided; a credit has none.
    """

    PREFIX: ClassVar[str] = "cbe"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    currency = CurrencyCodeField()
    kind = models.CharField(max_length=6, choices=BalanceEntryKind)
    amount = AmountField(help_text="What it adds; below zero, what it takes.")
    credit_note = models.ForeignKey(
        CreditNote, null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Where the credit is from; empty where an invoice came to less than zero.",
    )  # fmt: skip
    source = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="movements")
    invoice = models.ForeignKey(
        "invoicing.Invoice", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Which it pays, or, of a credit, the one that came to less than zero.",
    )  # fmt: skip
    occurred_at = models.DateTimeField(help_text="In the subscription's time.")

    class Meta:
        verbose_name_plural = "balance entries"
        constraints = [
            models.CheckConstraint(
                name="balanceentry_is_of_its_kind",
                condition=Q(
                    kind="credit", amount__gt=0, source__isnull=True, invoice__isnull=True, credit_note__isnull=False
                )
                | Q(kind="credit", amount__gt=0, source__isnull=True, invoice__isnull=False, credit_note__isnull=True)
                | Q(kind="use", amount__lt=0, source__isnull=False, invoice__isnull=False)
                | Q(kind="return", amount__gt=0, source__isnull=False, invoice__isnull=False)
                | Q(kind="void", amount__lt=0, source__isnull=False, invoice__isnull=True, credit_note__isnull=False),
            ),
            models.UniqueConstraint(
                fields=["credit_note"], name="balanceentry_one_credit", condition=Q(kind="credit")
            ),
            # Issued twice, an invoice below zero gives its credit once.
            models.UniqueConstraint(
                fields=["invoice"], name="balanceentry_one_credit_of_invoice", condition=Q(kind="credit")
            ),
            models.UniqueConstraint(fields=["credit_note"], name="balanceentry_one_void", condition=Q(kind="void")),
        ]
        indexes = [
            # Serves the list of a customer, and which credits are left.
            models.Index(fields=["customer", "currency", "id"], name="balanceentry_of_customer"),
            models.Index(fields=["organization", "-id"], name="balanceentry_list"),
        ]
        triggers = [
            pgtrigger.Protect(name="entry_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="entry_moves_balance",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("given", "numeric"), ("remains", "numeric")],
                func="""
                    INSERT INTO invoicing_customerbalance (organization_id, customer_id, currency, amount)
                    VALUES (NEW.organization_id, NEW.customer_id, NEW.currency, 0)
                    ON CONFLICT (customer_id, currency) DO NOTHING;
                    UPDATE invoicing_customerbalance SET amount = amount + NEW.amount
                    WHERE customer_id = NEW.customer_id AND currency = NEW.currency;
                    IF NEW.kind = 'credit' AND NEW.credit_note_id IS NULL THEN
                        SELECT -grand_total INTO given FROM invoicing_invoice
                        WHERE id = NEW.invoice_id AND number IS NOT NULL
                            AND customer_id = NEW.customer_id AND currency = NEW.currency;
                        IF given IS DISTINCT FROM NEW.amount THEN
                            RAISE EXCEPTION 'a credit is what an invoice is below zero'
                                USING ERRCODE = 'check_violation';
                        END IF;
                    END IF;
                    IF NEW.source_id IS NOT NULL THEN
                        SELECT amount INTO given FROM invoicing_balanceentry
                        WHERE id = NEW.source_id AND kind = 'credit'
                            AND customer_id = NEW.customer_id AND currency = NEW.currency;
                        SELECT given + COALESCE(sum(amount), 0) + NEW.amount INTO remains
                        FROM invoicing_balanceentry WHERE source_id = NEW.source_id;
                        IF given IS NULL OR remains < 0 OR remains > given THEN
                            RAISE EXCEPTION 'a credit is used once' USING ERRCODE = 'check_violation';
                        END IF;
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount.normalize():f}"
