from typing import ClassVar

import pghistory
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity


class ZeroTaxReason(models.TextChoices):
    """Why a customer pays no tax, in the words of e-invoices; the code is theirs."""

    ZERO_RATED = "Z", "Zero rated"
    EXEMPT = "E", "Exempt"
    REVERSE_CHARGE = "AE", "Reverse charge"
    OUTSIDE_SCOPE = "O", "Not subject to tax"


@pghistory.track()
class Customer(Entity):
    """The link between a merchant and a consumer: who is billed, and by which ids events name them."""

    PREFIX: ClassVar[str] = "cus"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    consumer = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    external_id = models.CharField(
        max_length=255, null=True, blank=True, help_text="The merchant's own id; meter events may use it."
    )
    tax_id = models.CharField(max_length=50, blank=True)
    tax_rates = models.JSONField(default=dict, blank=True, help_text='Percent by plan id, metric id or "default".')
    zero_tax_reason = models.CharField(
        max_length=2,
        choices=ZeroTaxReason,
        blank=True,
        help_text="Why lines without tax have none; e-invoices ask for it.",
    )
    zero_tax_note = models.CharField(
        max_length=255, blank=True, help_text="The rule that says so, as documents quote it."
    )
    billing_reference = models.CharField(
        max_length=100, blank=True, help_text="What it wants to find on its invoices."
    )
    timezone = models.CharField(max_length=64, blank=True, help_text="Empty: the merchant's.")
    consolidate_invoices = models.BooleanField(null=True, blank=True, help_text="Empty: as the merchant does.")
    notify_invoice_issued = models.BooleanField(default=True)
    notify_invoice_paid = models.BooleanField(default=True)
    notify_renewal = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "consumer"],
                name="customer_once_per_consumer",
                condition=Q(deleted_at__isnull=True),
            ),
            models.UniqueConstraint(
                fields=["organization", "external_id"],
                name="customer_external_id_once",
                condition=Q(deleted_at__isnull=True, external_id__isnull=False),
            ),
            models.CheckConstraint(name="customer_external_id_filled", condition=~Q(external_id="")),
            models.CheckConstraint(
                name="customer_zero_tax_reason_known", condition=Q(zero_tax_reason__in=["", *ZeroTaxReason.values])
            ),
            models.CheckConstraint(
                name="customer_is_not_its_merchant", condition=~Q(organization=models.F("consumer"))
            ),
        ]
        indexes = [
            # Serves the list: newest first within one merchant.
            models.Index(fields=["organization", "-id"], name="customer_list"),
            # Serves "who gets one document, or none, unlike others of the merchant".
            models.Index(
                fields=["consolidate_invoices", "id"],
                name="customer_own_consolidation",
                condition=Q(consolidate_invoices__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.consumer.name


class ExternalIdLink(models.Model):
    """Which customer an own id of the merchant stands for, and when; written by the customers' services alone.

    The first link of an id reaches back to the beginning and each next one to the end of the one before, so that
    events that came before their customer are found, and events of an earlier customer stay with it.
    """

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    # The index of the key serves "which ids had this customer".
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="external_id_links")
    external_id = models.CharField(max_length=255)
    valid = DateTimeRangeField(help_text="Half-open; an open end has no bound.")

    class Meta:
        constraints = [
            # Its index also serves "whose was this id, when".
            ExclusionConstraint(
                name="externalidlink_one_customer_at_a_time",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("external_id", RangeOperators.EQUAL),
                    ("valid", RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(name="externalidlink_is_an_interval", condition=Q(valid__isempty=False)),
            models.UniqueConstraint(
                fields=["customer"], name="externalidlink_one_open", condition=Q(valid__upper_inf=True)
            ),
        ]

    def __str__(self) -> str:
        return self.external_id
