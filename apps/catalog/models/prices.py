from typing import ClassVar

import pghistory
import pgtrigger
from django.db import models
from django.db.models import Q

from apps.catalog.models.products import BillableMetric, CatalogEntity, Feature, Fee
from apps.kernel.models import ExactJSONField, Row


class PaymentTerm(models.TextChoices):
    IN_ADVANCE = "in_advance", "In advance"
    IN_ARREARS = "in_arrears", "In arrears"


class SupplyScope(models.TextChoices):
    IN_SCOPE = "IN_SCOPE", "In scope"
    OUTSIDE_SCOPE = "OUTSIDE_SCOPE", "Outside scope"


class PriceTermsColumns(Row):
    """The columns that decide what a price bills; a price has them now, a revision for ever."""

    # No choices here: a model that an installation adds must not need a migration. Forms and the API offer them.
    model = models.CharField(max_length=40)
    properties = models.JSONField(help_text="In the wire's form for the model, such as unitPrice or tiers.")
    payment_term = models.CharField(max_length=10, choices=PaymentTerm)
    billing_cadence = models.CharField(
        max_length=20, blank=True, help_text="ISO 8601 duration, P0D once; empty: the plan's."
    )
    quantity = models.PositiveIntegerField(default=1, help_text="Units of a fee charged each time.")
    invoice_display_name = models.CharField(max_length=255)
    is_obligation = models.BooleanField(
        default=False, help_text="Owed whole: never prorated, first charged at the first full period."
    )
    is_flat = models.BooleanField(
        default=False, editable=False, help_text="Of a flat metric: the chosen quantity is charged, no usage."
    )
    supply_scope = models.CharField(max_length=13, choices=SupplyScope, default=SupplyScope.IN_SCOPE)
    pricing_unit = models.ForeignKey(
        "catalog.PricingUnit", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Usage draws credits of it, and costs no money; empty: the plan's currency.",
    )  # fmt: skip

    class Meta:
        abstract = True


@pghistory.track()
class Price(PriceTermsColumns, CatalogEntity):
    """One priced item: a metric or a fee, its model and its terms, as they are now."""

    PREFIX: ClassVar[str] = "price"

    metric = models.ForeignKey(BillableMetric, null=True, blank=True, on_delete=models.PROTECT, related_name="prices")
    fee = models.ForeignKey(Fee, null=True, blank=True, on_delete=models.PROTECT, related_name="prices")
    feature = models.ForeignKey(Feature, null=True, blank=True, on_delete=models.PROTECT, related_name="prices")
    entitlement_template = ExactJSONField(
        null=True, blank=True, help_text="The allowance a subscriber gets; null attaches the feature alone."
    )
    invoice_display_group = models.CharField(max_length=255, blank=True)
    grant_discount_enabled = models.BooleanField(default=False)
    rate_type = models.CharField(
        max_length=10, choices=[("amount", "Amount"), ("proportion", "Proportion")], default="amount"
    )
    outside_scope_label = models.CharField(max_length=20, blank=True)
    revision_number = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="price_of_metric_or_fee",
                condition=Q(metric__isnull=False, fee__isnull=True) | Q(metric__isnull=True, fee__isnull=False),
            ),
            # The price of a first unit must not wait for the last one; the service knows models that are installed.
            models.CheckConstraint(
                name="price_as_it_comes_is_not_by_volume",
                condition=Q(metric__isnull=True)
                | Q(is_flat=True)
                | Q(payment_term="in_arrears")
                | ~Q(model="volume"),
            ),
            models.CheckConstraint(
                name="price_flat_is_of_a_metric", condition=Q(is_flat=False) | Q(metric__isnull=False)
            ),
            models.CheckConstraint(name="price_fee_is_standard", condition=Q(fee__isnull=True) | Q(model="standard")),
            models.CheckConstraint(
                name="price_fee_has_cadence", condition=Q(fee__isnull=True) | ~Q(billing_cadence="")
            ),
            models.CheckConstraint(
                name="price_obligation_is_a_fee", condition=Q(is_obligation=False) | Q(fee__isnull=False)
            ),
            models.CheckConstraint(
                name="price_in_credits_is_of_usage",
                condition=Q(pricing_unit__isnull=True)
                | Q(metric__isnull=False, is_flat=False, model__in=["standard", "volume"], payment_term="in_arrears"),
            ),
            models.CheckConstraint(
                name="price_quantity_in_range", condition=Q(quantity__gte=1, quantity__lte=1_000_000)
            ),
            models.CheckConstraint(
                name="price_outside_scope_is_labelled",
                condition=Q(supply_scope="IN_SCOPE", outside_scope_label="")
                | (Q(supply_scope="OUTSIDE_SCOPE") & ~Q(outside_scope_label="")),
            ),
            models.CheckConstraint(
                name="price_template_needs_feature",
                condition=Q(entitlement_template__isnull=True) | Q(feature__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="price_list")]

    def __str__(self) -> str:
        return self.invoice_display_name

    @property
    def bills_usage(self) -> bool:
        """Whether events are its quantity; otherwise one is chosen."""
        return self.metric_id is not None and not self.is_flat


class PriceRevision(PriceTermsColumns):
    """The terms of a price as they stood; periods bill the revision they opened with."""

    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="revisions")
    metric = models.ForeignKey(BillableMetric, null=True, on_delete=models.PROTECT, related_name="+")
    fee = models.ForeignKey(Fee, null=True, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["price", "number"], name="pricerevision_number_once")]
        triggers = [
            # What was billed by it must stay recomputable.
            pgtrigger.Protect(name="revision_is_frozen", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.invoice_display_name} v{self.number}"

    @property
    def bills_usage(self) -> bool:
        """Whether events are its quantity; otherwise one is chosen."""
        return self.metric_id is not None and not self.is_flat

    @property
    def is_prepaid(self) -> bool:
        """Whether it is charged before its service; usage never is, in advance it is billed as it comes."""
        return self.payment_term == PaymentTerm.IN_ADVANCE and not self.bills_usage
