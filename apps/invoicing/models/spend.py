from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import F, Q

from apps.catalog.domain.cadences import OF_DAYS, OF_MONTHS
from apps.catalog.models import SpendKind
from apps.kernel.models import AmountField, Entity


@pghistory.track()
class SpendAgreement(Entity):
    """A commitment or a cap agreed with one subscriber for a time, in place of the plan's or the price's own."""

    PREFIX: ClassVar[str] = "spa"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey("subscriptions.Subscription", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=SpendKind)
    price = models.ForeignKey(
        "catalog.Price", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Empty: of the whole subscription.",
    )  # fmt: skip
    amount = AmountField(null=True, blank=True, help_text="For a full period; empty: none holds.")
    cadence = models.CharField(max_length=20, blank=True, help_text="ISO 8601; empty: each billing period.")
    effective_from = models.DateTimeField(help_text="It reaches periods that begin from then on.")
    effective_to = models.DateTimeField(null=True, blank=True, help_text="A period ends there, in proportion.")
    description = models.TextField(blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    placed_at = models.DateTimeField(help_text="Periods that were over by then are billed without it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "idempotency_key"],
                name="spendagreement_idempotency_key_once",
                condition=Q(idempotency_key__isnull=False),
            ),
            models.CheckConstraint(
                name="spendagreement_window_is_an_interval",
                condition=Q(effective_to__isnull=True) | Q(effective_to__gt=F("effective_from")),
            ),
            models.CheckConstraint(
                name="spendagreement_amount_in_range",
                condition=Q(amount__isnull=True) | Q(kind="commitment", amount__gt=0) | Q(kind="cap", amount__gte=0),
            ),
            models.CheckConstraint(
                name="spendagreement_cadence_is_a_step",
                condition=Q(cadence="")
                | (Q(cadence__regex=r"[1-9]") & (Q(cadence__regex=OF_MONTHS) | Q(cadence__regex=OF_DAYS))),
            ),
        ]
        indexes = [
            # Serves every calculation of an invoice.
            models.Index(fields=["subscription", "effective_from"], name="spendagreement_of_subscription")
        ]

    def __str__(self) -> str:
        shown = "none" if self.amount is None else f"{self.amount.normalize():f}"
        return f"{self.get_kind_display()} {shown}"
