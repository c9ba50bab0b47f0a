from typing import ClassVar

import pghistory
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.kernel.history import in_sets
from apps.kernel.models import CurrencyCodeField, Entity


class SubscriptionStatus(models.TextChoices):
    SCHEDULED = "scheduled", "Scheduled"
    PENDING_PAYMENT = "pending_payment", "Pending payment"
    ACTIVE = "active", "Active"
    TERMINATED = "terminated", "Terminated"


# What time moves, and tells by announcements: the next period, and the reminder of it.
OF_PERIOD = (
    "period_number",
    "period_start",
    "period_end",
    "next_action_at",
    "next_reminder_at",
    "reminded_at",
    "reminded_period",
)


@pghistory.track(*in_sets(silent=OF_PERIOD), exclude=["updated_at"])
class Subscription(Entity):
    """Who has which plan, from when, and which period of it is open."""

    PREFIX: ClassVar[str] = "sub"

    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    customer = models.ForeignKey("customers.Customer", on_delete=models.PROTECT, related_name="+")
    plan = models.ForeignKey("catalog.Plan", on_delete=models.PROTECT, related_name="+")
    plan_version = models.ForeignKey("catalog.PlanVersion", on_delete=models.PROTECT, related_name="+")
    next_version = models.ForeignKey(
        "catalog.PlanVersion",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="What it moves to at the end of the open period.",
    )
    next_plan = models.ForeignKey(
        "catalog.Plan",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="What the customer takes instead when this one ends.",
    )
    replaces = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The subscription that a change of plan ended for this one.",
    )
    product = models.ForeignKey("catalog.Product", on_delete=models.PROTECT, related_name="+", db_index=False)
    test_clock = models.ForeignKey(
        "subscriptions.TestClock",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="subscriptions",
        db_index=False,
    )
    name = models.CharField(max_length=255)
    status = models.CharField(max_length=15, choices=SubscriptionStatus)
    version_policy = models.CharField(
        max_length=8, choices=[("floating", "Floating"), ("pinned", "Pinned")], default="floating"
    )
    currency = CurrencyCodeField()

    placed_at = models.DateTimeField(help_text="When it was made, in its own time.")
    started_at = models.DateTimeField()
    billing_starts_at = models.DateTimeField(help_text="Charges due before this are not billed.")
    billing_anchor = models.DateTimeField(help_text="The instant periods count from.")
    billing_cadence = models.CharField(max_length=20)
    has_own_anchor = models.BooleanField(default=True, help_text="The plan sets no anchor.")
    timezone = models.CharField(max_length=64, default="UTC", help_text="Calendar steps are local to it.")
    elapsed_period_billing = models.CharField(
        max_length=10, choices=[("none", "None"), ("per_period", "Per period")], default="none"
    )
    activated_at = models.DateTimeField(null=True, blank=True)
    trial_ends_at = models.DateTimeField(null=True, blank=True, help_text="Until when it costs no fees.")
    trial_usage = models.CharField(
        max_length=6,
        choices=[("billed", "Billed"), ("free", "Free")],
        default="billed",
        help_text="What usage costs in the trial.",
    )
    term_periods = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Of how many periods each term is; empty: it goes on until it is ended."
    )
    term_number = models.PositiveIntegerField(default=0, help_text="The running term, from 1; 0 without one.")
    term_ends_at = models.DateTimeField(null=True, blank=True, help_text="End of the running term.")
    auto_renew = models.BooleanField(default=True, help_text="Whether another term follows; else it ends then.")
    ending_at = models.DateTimeField(null=True, blank=True, help_text="Fixed end of the term.")
    cancels_at = models.DateTimeField(null=True, blank=True, help_text="End that was asked for and can be undone.")
    billing_thresholds = models.JSONField(
        null=True, blank=True, help_text="In place of those of its plan; empty: as the plan, {}: none."
    )
    paused_at = models.DateTimeField(null=True, blank=True, help_text="Since when it costs no fees.")
    terminated_at = models.DateTimeField(null=True, blank=True)
    terminated_by = models.CharField(max_length=255, blank=True)
    termination_reason = models.CharField(max_length=1000, blank=True)
    termination_change_reason = models.CharField(max_length=12, blank=True)

    # The open period. Periods are numbered from 1; before activation there is none (0).
    period_number = models.PositiveIntegerField(default=0)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    price_revision_ids = ArrayField(
        models.BigIntegerField(),
        default=list,
        blank=True,
        help_text="Price revisions the open period bills by, in the order of the plan.",
    )
    next_action_at = models.DateTimeField(
        null=True, blank=True, help_text="When lifecycle work is due next, in the subscription's time."
    )
    next_reminder_at = models.DateTimeField(
        null=True, blank=True, help_text="When the coming renewal, or end of the trial, is announced."
    )
    reminded_at = models.DateTimeField(null=True, blank=True, help_text="When that was announced last.")
    reminded_period = models.PositiveIntegerField(default=0, help_text="The period whose end was announced last.")
    parked_reason = models.TextField(blank=True, help_text="Why lifecycle work of this one is held back.")

    auto_charge = models.BooleanField(default=False)
    tax_exempt = models.BooleanField(default=False)
    auto_approve = models.BooleanField(null=True, blank=True, help_text="Empty: as the merchant does.")
    payment_term_days = models.PositiveSmallIntegerField(default=0)
    session_expiry_minutes = models.PositiveIntegerField(default=240)
    redirect_on_success = models.URLField(max_length=2000, blank=True)
    redirect_on_failure = models.URLField(max_length=2000, blank=True)
    renewal_reminder_enabled = models.BooleanField(null=True, blank=True)
    renewal_reminder_days = models.PositiveSmallIntegerField(null=True, blank=True)
    minimum_account_balance = models.CharField(max_length=40, blank=True)
    change_reason = models.CharField(max_length=12, blank=True)
    change_description = models.TextField(blank=True)
    change_metadata = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="subscription_status_known", condition=Q(status__in=SubscriptionStatus.values)
            ),
            models.CheckConstraint(
                name="subscription_period_is_an_interval",
                condition=Q(period_start__isnull=True, period_end__isnull=True) | Q(period_start__lt=F("period_end")),
            ),
            models.CheckConstraint(
                name="subscription_trial_ends_after_start",
                condition=Q(trial_ends_at__isnull=True) | Q(trial_ends_at__gt=F("started_at")),
            ),
            models.CheckConstraint(
                name="subscription_own_periods_count_from_trial_end",
                condition=Q(has_own_anchor=False)
                | Q(trial_ends_at__isnull=True)
                | Q(billing_anchor=F("trial_ends_at")),
            ),
            models.CheckConstraint(
                name="subscription_term_is_whole",
                condition=Q(term_periods__isnull=True, term_ends_at__isnull=True, term_number=0)
                | Q(
                    term_periods__isnull=False,
                    term_ends_at__isnull=False,
                    term_periods__gte=1,
                    term_ends_at__gt=F("started_at"),
                    term_number__gte=1,
                ),
            ),
            models.CheckConstraint(
                name="subscription_ends_after_start",
                condition=Q(ending_at__isnull=True) | Q(ending_at__gt=F("started_at")),
            ),
            models.CheckConstraint(
                name="subscription_cancels_after_start",
                condition=Q(cancels_at__isnull=True) | Q(cancels_at__gt=F("started_at")),
            ),
            models.CheckConstraint(
                name="subscription_changes_when_active",
                condition=Q(status__in=["active", "terminated"]) | Q(cancels_at__isnull=True, paused_at__isnull=True),
            ),
            models.CheckConstraint(
                name="subscription_terminated_has_instant",
                condition=Q(status="terminated", terminated_at__isnull=False)
                | (~Q(status="terminated") & Q(terminated_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="subscription_active_has_period",
                condition=~Q(status="active") | Q(period_number__gte=1, period_end__isnull=False),
            ),
            # A subscription that is moved to a version stays there; a floating one goes where its plan goes.
            models.CheckConstraint(
                name="subscription_migration_pins",
                condition=Q(next_version__isnull=True) | Q(version_policy="pinned"),
            ),
            models.CheckConstraint(
                name="subscription_changes_to_another_plan",
                condition=Q(next_plan__isnull=True) | ~Q(next_plan=F("plan")),
            ),
            # One live subscription per customer and plan; another plan of the product is refused by the service.
            models.UniqueConstraint(
                fields=["customer", "product"],
                name="subscription_one_live_per_product",
                condition=~Q(status="terminated"),
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="subscription_list"),
            # Serves "what is due" in a state, oldest first, on the wall clock and on test clocks, and what looks for
            # a clock's subscriptions. With the key, so that the first of very many that are due at one instant are
            # found without sorting all.
            models.Index(fields=["test_clock", "status", "next_action_at", "id"], name="subscription_due"),
            # Serves "whose usage is watched", beside the plans that say so.
            models.Index(
                fields=["id"],
                name="subscription_own_thresholds",
                condition=Q(billing_thresholds__isnull=False),
            ),
            # Serves "who is to be reminded", of a boundary that is not over; on the wall clock and on test clocks.
            models.Index(
                fields=["test_clock", "next_reminder_at", "id", "period_end"],
                name="subscription_reminder_due",
                condition=Q(next_reminder_at__isnull=False, parked_reason=""),
            ),
        ]
