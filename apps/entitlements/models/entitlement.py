from typing import ClassVar

import pghistory
import pgtrigger
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary, RangeOperators
from django.db import models
from django.db.models import F, Func, Q

from apps.catalog.models import Feature
from apps.kernel.models import Entity, ExactJSONField, QuantityField


class TsTzRange(Func):
    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


def counts_as_change(table: str) -> pgtrigger.Trigger:
    """Give the trigger by which a change of a row counts as a change of its entitlement."""
    return pgtrigger.Trigger(
        name=f"{table}_changes_its_right",
        operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
        when=pgtrigger.After,
        func="UPDATE entitlements_entitlement SET revision = revision + 1"
        " WHERE id IN (NEW.entitlement_id, OLD.entitlement_id); RETURN NULL;",
    )


@pghistory.track(exclude=["updated_at", "revision"])
class Entitlement(Entity):
    """A customer's right to a feature for some time; what is left of it is derived from grants and usage.

    Or a pool of credits: then it is of a pricing unit, has no end, and rights to features show what is left of it.
    """

    PREFIX: ClassVar[str] = "ent"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    feature = models.ForeignKey(
        "catalog.Feature", null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="Of a right."
    )
    pricing_unit = models.ForeignKey(
        "catalog.PricingUnit", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Of a pool: what its credits are counted in.",
    )  # fmt: skip
    pool = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="Of a right to a feature that is used in credits: where they come from.",
    )  # fmt: skip
    subscription = models.ForeignKey(
        "subscriptions.Subscription", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    is_of_plan = models.BooleanField(default=False, help_text="Whether subscribing gave it, not a person.")
    active_from = models.DateTimeField()
    active_to = models.DateTimeField(null=True, blank=True, help_text="The first moment it does not hold.")
    is_canceled = models.BooleanField(default=False, help_text="Whether it was ended, rather than made with an end.")
    config = ExactJSONField(null=True, blank=True, help_text="What a static feature is set to.")
    slots = models.PositiveIntegerField(
        null=True, blank=True, help_text="Of a static feature: how many may be held at once; empty: no limit."
    )
    template = ExactJSONField(null=True, blank=True, help_text="What it was made by.")
    metadata = models.JSONField(default=dict, blank=True)
    revision = models.BigIntegerField(
        default=0,
        editable=False,
        help_text="Counts changes of it, its grants, resets and prices, whoever makes them.",
    )

    # Of a metered feature.
    is_metered = models.BooleanField(default=False)
    is_soft_limit = models.BooleanField(default=False, help_text="Whether use goes on when nothing is left.")
    allowance = QuantityField(null=True, blank=True, help_text="Units issued at the start and at each reset.")
    first_allowance = QuantityField(
        null=True, blank=True, help_text="Units issued at the start, where it took another right's place."
    )
    allowance_priority = models.SmallIntegerField(default=1, help_text="Lower numbers are used first.")
    preserves_overage = models.BooleanField(default=False, help_text="Whether a reset carries overage over.")
    rollover_min = QuantityField(default=0, help_text="Least rest of the allowance that a reset keeps.")
    rollover_max = QuantityField(default=0, help_text="Most rest of the allowance that a reset keeps.")
    reset_cadence = models.CharField(max_length=20, blank=True, help_text="ISO 8601; empty: it never resets.")
    reset_anchor = models.DateTimeField(null=True, blank=True, help_text="The instant resets count from.")
    timezone = models.CharField(max_length=64, default="UTC", help_text="Resets are local to it.")
    billing_cadence = models.CharField(
        max_length=20, blank=True, help_text="ISO 8601: how often its subscription bills overage; empty: never."
    )

    class Meta:
        constraints = [
            # One right to a feature at a time: two would each count the same usage. Its index serves look-ups too.
            ExclusionConstraint(
                name="entitlement_one_of_a_feature",
                expressions=[
                    ("customer", RangeOperators.EQUAL),
                    ("feature", RangeOperators.EQUAL),
                    (TsTzRange("active_from", "active_to", RangeBoundary()), RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                name="entitlement_of_a_feature_or_a_unit",
                condition=Q(feature__isnull=False, pricing_unit__isnull=True)
                | Q(feature__isnull=True, pricing_unit__isnull=False),
            ),
            models.CheckConstraint(
                name="entitlement_pool_has_no_terms",
                condition=Q(pricing_unit__isnull=True)
                | Q(
                    is_metered=True,
                    is_soft_limit=False,
                    pool__isnull=True,
                    subscription__isnull=True,
                    active_to__isnull=True,
                    allowance__isnull=True,
                    reset_cadence="",
                ),
            ),
            models.CheckConstraint(
                name="entitlement_in_credits_is_metered",
                condition=Q(pool__isnull=True)
                | Q(is_metered=True, preserves_overage=False, rollover_min=0, rollover_max=0),
            ),
            models.UniqueConstraint(
                fields=["customer", "pricing_unit"],
                name="entitlement_one_pool_of_a_unit",
                condition=Q(pricing_unit__isnull=False),
            ),
            models.CheckConstraint(
                name="entitlement_ends_after_its_start",
                condition=Q(active_to__isnull=True) | Q(active_to__gte=F("active_from")),
            ),
            models.CheckConstraint(
                name="entitlement_canceled_has_an_end", condition=Q(is_canceled=False) | Q(active_to__isnull=False)
            ),
            models.CheckConstraint(
                name="entitlement_resets_from_an_anchor",
                condition=Q(reset_cadence="", reset_anchor__isnull=True)
                | (Q(is_metered=True, reset_anchor__isnull=False) & ~Q(reset_cadence="")),
            ),
            models.CheckConstraint(
                name="entitlement_units_not_negative",
                condition=(Q(allowance__isnull=True) | Q(allowance__gt=0, is_metered=True))
                & Q(rollover_min__gte=0, rollover_max__gte=0),
            ),
            models.CheckConstraint(
                name="entitlement_first_of_an_allowance",
                condition=Q(first_allowance__isnull=True) | Q(first_allowance__gte=0, allowance__isnull=False),
            ),
            models.CheckConstraint(
                name="entitlement_bills_what_is_not_carried",
                condition=Q(billing_cadence="")
                | Q(subscription__isnull=False, is_soft_limit=True, preserves_overage=False, pool__isnull=True),
            ),
            models.CheckConstraint(
                name="entitlement_slots_of_a_static_feature",
                condition=Q(slots__isnull=True) | Q(config__isnull=False, is_metered=False),
            ),
            models.CheckConstraint(
                name="entitlement_of_plan_has_a_subscription",
                condition=Q(is_of_plan=False) | Q(subscription__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="entitlement_list"),
            # Serves bills: which rights had the subscriber?
            models.Index(fields=["customer", "active_from"], name="entitlement_of_customer"),
        ]
        triggers = [
            # Tells processes that what they keep of it does not hold any more.
            pgtrigger.Trigger(
                name="entitlement_counts_changes",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                func="NEW.revision = OLD.revision + 1; RETURN NEW;",
            )
        ]

    @property
    def right_to(self) -> Feature:
        """The feature that it is a right to."""
        assert self.feature is not None, "a pool is of no feature"
        return self.feature

    @property
    def right_to_id(self) -> int:
        assert self.feature_id is not None, "a pool is of no feature"
        return self.feature_id

    @property
    def drawn_id(self) -> int:
        """The key of where its units come from: its pool, else itself."""
        return self.pool_id or self.pk

    @property
    def is_in_credits(self) -> bool:
        """Whether it is a pool or shows one."""
        return self.pool_id is not None or self.pricing_unit_id is not None


class EntitlementMeter(models.Model):
    """A price whose usage draws on an entitlement, and the metric that counts it."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    entitlement = models.ForeignKey(Entitlement, on_delete=models.PROTECT, related_name="meters")
    price = models.ForeignKey("catalog.Price", on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey("catalog.BillableMetric", on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entitlement", "price"], name="entitlementmeter_price_once")]
        triggers = [counts_as_change("entitlementmeter")]

    def __str__(self) -> str:
        return str(self.metric)
