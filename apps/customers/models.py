from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.kernel.models import Entity


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
    timezone = models.CharField(max_length=64, blank=True, help_text="Empty: the merchant's.")
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
                name="customer_is_not_its_merchant", condition=~Q(organization=models.F("consumer"))
            ),
        ]
        # Serves the list: newest first within one merchant.
        indexes = [models.Index(fields=["organization", "-id"], name="customer_list")]

    def __str__(self) -> str:
        return self.consumer.name
