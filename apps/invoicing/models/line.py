from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q

from apps.invoicing.models.charge_sql import DECLARED, OF_CORRECTION
from apps.kernel.models import AmountField, CurrencyCodeField, Entity, QuantityField, UnitPriceField, WrittenJSONField
from apps.taxes.domain.treatment import Treatment


def sum_of(name: str) -> Func:
    """Give the sum of a column of amounts, for constraints."""
    return Func(F(name), function="invoicing_sum", output_field=AmountField())


def no_issued(changed: str) -> str:
    """Give the body of a trigger that refuses to change lines of issued invoices.

    Args:
        changed: a query that gives the keys of the invoices whose lines a statement changed.
    """
    return f"""
                    -- Each invoice by its key: the planner expects many and would read all there are.
                    IF EXISTS (
                        SELECT 1 FROM ({changed}) AS line
                        CROSS JOIN LATERAL (
                            SELECT number, consolidated_into_id, has_members FROM invoicing_invoice
                            WHERE id = line.invoice_id OFFSET 0
                        ) AS invoice
                        WHERE number IS NOT NULL OR consolidated_into_id IS NOT NULL OR has_members
                    ) THEN
                        RAISE EXCEPTION 'lines of an issued invoice never change; write a credit note';
                    END IF;
                    RETURN NULL;
                """


class LineKind(models.TextChoices):
    FEE = "fee", "Fee"
    METERED = "metered", "Metered"
    MANUAL = "manual", "Manual"
    DISCOUNT = "discount", "Discount"
    ADJUSTMENT = "adjustment", "Adjustment"
    COMMITMENT = "commitment", "Minimum commitment"


class InvoiceLine(Entity):
    """One billable item of an invoice, rounded once, with the calculation that made it.

    Lines of an open period are derived, not stored; only manual ones wait here until their invoice is calculated.
    """

    PREFIX: ClassVar[str] = "li"

    # What it refers to is checked by `references_in_sets`.
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    # Found by its references below.
    invoice = models.ForeignKey(
        "invoicing.Invoice", on_delete=models.PROTECT, related_name="lines", db_index=False, db_constraint=False
    )
    kind = models.CharField(max_length=10, choices=LineKind)
    reference = models.CharField(max_length=120, help_text="What the line bills, the same at every calculation.")
    price_revision = models.ForeignKey(
        "catalog.PriceRevision", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        db_constraint=False,
    )  # fmt: skip
    display_name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    payment_term = models.CharField(max_length=10, blank=True)
    currency = CurrencyCodeField()
    period_start = models.DateTimeField(help_text="When the service was provided.")
    period_end = models.DateTimeField()
    quantity = QuantityField()
    unit_price = UnitPriceField()
    gross = AmountField(
        help_text="Rounded once, half-up, to the minor unit; with tax contained where the plan says so."
    )
    subtotal = AmountField(help_text="Without tax.")
    tax_rate = models.DecimalField(max_digits=7, decimal_places=4, default=0, help_text="Percent.")
    tax_amount = AmountField(default=0)
    tax_treatment = models.ForeignKey(
        "taxes.TaxTreatment", null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False,
        db_constraint=False,
        help_text="What a registration decided; empty where the plan and the customer did.",
    )  # fmt: skip
    tax_parts = ArrayField(AmountField(), null=True, blank=True, help_text="The tax by rate, where it has several.")
    total = AmountField()
    is_late = models.BooleanField(default=False, help_text="Usage of an earlier period that arrived too late.")
    provenance = WrittenJSONField(default=dict)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["invoice", "reference"], name="line_reference_once"),
            models.UniqueConstraint(
                fields=["organization", "idempotency_key"],
                name="line_idempotency_key_once",
                condition=Q(idempotency_key__isnull=False),
            ),
            models.CheckConstraint(name="line_total_adds_up", condition=Q(total=F("subtotal") + F("tax_amount"))),
            models.CheckConstraint(
                name="line_taxes_add_up",
                condition=Q(tax_parts__isnull=True) | Q(tax_amount=sum_of("tax_parts"), tax_treatment__isnull=False),
            ),
            models.CheckConstraint(name="line_period_is_an_interval", condition=Q(period_start__lte=F("period_end"))),
        ]
        indexes = [
            # Serves "what waits on open invoices until they are calculated": few lines, so that it is a short look
            # whatever is known of how many there are.
            models.Index(
                fields=["invoice"],
                name="line_waiting",
                condition=Q(kind__in=[LineKind.MANUAL, LineKind.ADJUSTMENT]),
            ),
        ]
        triggers = [
            # A correction gives back no more than credit notes left of its charge.
            pgtrigger.Trigger(
                name="corrections_stay_within_charge",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                condition=pgtrigger.Condition("NEW.is_late AND NEW.gross < 0"),
                declare=DECLARED,
                func=OF_CORRECTION,
            ),
            # Lines are written by the thousand, so those of a statement are looked at together.
            pgtrigger.Trigger(
                name="issued_lines_are_frozen",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                level=pgtrigger.Statement,
                referencing=pgtrigger.Referencing(old="old_lines", new="new_lines"),  # type: ignore[no-untyped-call]
                func=no_issued("SELECT invoice_id FROM new_lines UNION SELECT invoice_id FROM old_lines"),
            ),
            pgtrigger.Trigger(
                name="issued_lines_stay",
                when=pgtrigger.After,
                operation=pgtrigger.Delete,
                level=pgtrigger.Statement,
                referencing=pgtrigger.Referencing(old="old_lines"),  # type: ignore[no-untyped-call]
                func=no_issued("SELECT DISTINCT invoice_id FROM old_lines"),
            ),
            pgtrigger.Trigger(
                name="issued_take_no_lines",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                level=pgtrigger.Statement,
                referencing=pgtrigger.Referencing(new="new_lines"),  # type: ignore[no-untyped-call]
                func=no_issued("SELECT DISTINCT invoice_id FROM new_lines"),
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def is_prepaid(self) -> bool:
        """Whether it was due at the start of its service; usage never is."""
        return self.payment_term == "in_advance" and self.kind != LineKind.METERED

    @property
    def decision(self) -> Treatment | None:
        return self.tax_treatment.decision if self.tax_treatment is not None else None

    @property
    def taxes(self) -> Sequence[Decimal]:
        """Its tax by each rate that it has."""
        if self.tax_parts is None and self.tax_treatment is not None and len(self.tax_treatment.percents) > 1:
            # A credit that waits on an open invoice; its tax is worked out with the others'.
            return [Decimal(0)] * len(self.tax_treatment.percents)
        return self.tax_parts or ([self.tax_amount] if self.tax_rate else [])
