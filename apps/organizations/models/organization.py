from typing import ClassVar

import pghistory
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.kernel.models import CurrencyCodeField, Entity
from apps.organizations.domain.roles import Role


class Environment(models.TextChoices):
    TEST = "test", "Test"
    LIVE = "live", "Live"


@pghistory.track()
class Organization(Entity):
    """A company: it sells (merchant), buys (consumer), or both; everything else belongs to one."""

    PREFIX: ClassVar[str] = "org"

    name = models.CharField(max_length=255)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=50, blank=True)
    billing_emails = ArrayField(models.EmailField(), default=list, blank=True)
    line1 = models.CharField(max_length=255, blank=True)
    line2 = models.CharField(max_length=255, blank=True)
    city = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=100, blank=True)
    country = models.CharField(max_length=2, blank=True)
    zip_code = models.CharField(max_length=20, blank=True)

    # What documents say beside name and address.
    legal_name = models.CharField(max_length=255, blank=True, help_text="On documents, in place of the name.")
    vat_id = models.CharField(
        "VAT id",
        max_length=20,
        blank=True,
        help_text="A merchant's, with the country's letters. A customer has its own.",
    )
    registration_number = models.CharField(
        max_length=50, blank=True, help_text="In the register of companies or of the tax office."
    )
    iban = models.CharField("IBAN", max_length=34, blank=True, help_text="Where customers transfer money to.")
    bic = models.CharField("BIC", max_length=11, blank=True)

    environment = models.CharField(max_length=4, choices=Environment, default=Environment.TEST)
    is_merchant = models.BooleanField(default=False)
    is_consumer = models.BooleanField(default=False)
    managed_by = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The merchant that made this consumer; its data is that merchant's alone.",
    )

    # How a merchant bills.
    timezone = models.CharField(max_length=64, default="UTC")
    currency = CurrencyCodeField(default="USD", help_text="Offered first when a plan is made.")
    grace_period_seconds = models.PositiveIntegerField(
        default=3600, help_text="How long a closed period waits for late usage before it is calculated."
    )
    auto_approve = models.BooleanField(
        default=True, help_text="Issue calculated invoices at once; otherwise they wait as drafts."
    )
    consolidate_invoices = models.BooleanField(
        default=False,
        help_text="Issue invoices of one customer whose periods end together as one document; a customer may differ.",
    )
    invoice_prefix = models.CharField(max_length=12, default="INV")
    event_days_back = models.PositiveIntegerField(
        default=35, help_text="Meter events older than this are kept aside until someone releases them."
    )
    event_seconds_ahead = models.PositiveIntegerField(
        default=300, help_text="Meter events further ahead than this are kept aside until their time has come."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="organization_has_a_side", condition=Q(is_merchant=True) | Q(is_consumer=True)
            ),
            models.CheckConstraint(
                name="organization_prefix_is_plain", condition=Q(invoice_prefix__regex=r"^[A-Z0-9]{1,12}$")
            ),
            models.CheckConstraint(
                name="organization_event_window_in_reach",
                condition=Q(event_days_back__lte=36_500, event_seconds_ahead__lte=31_536_000),
                violation_error_message="Accept events at most 100 years back and a year ahead.",
            ),
            models.CheckConstraint(
                name="organization_vat_id_shaped",
                condition=Q(vat_id="") | Q(vat_id__regex=r"^[A-Z]{2}[A-Z0-9]{2,18}$"),
            ),
            models.CheckConstraint(
                name="organization_iban_shaped",
                condition=Q(iban="") | Q(iban__regex=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"),
            ),
            models.CheckConstraint(
                name="organization_bic_shaped",
                condition=Q(bic="") | Q(bic__regex=r"^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$"),
            ),
            # A managed consumer is found again by its e-mail within its merchant.
            models.UniqueConstraint(
                "managed_by",
                models.functions.Lower("email"),
                name="organization_managed_email_unique",
                condition=Q(managed_by__isnull=False) & ~Q(email=""),
            ),
        ]
        indexes = [
            # Serves "whose customers get one document".
            models.Index(fields=["id"], name="organization_consolidating", condition=Q(consolidate_invoices=True))
        ]


class MembershipState(models.TextChoices):
    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DECLINED = "declined"


@pghistory.track()
class Membership(models.Model):
    """A person's role in one organization."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=10, choices=[(role.value, role.value.title()) for role in Role])
    state = models.CharField(max_length=10, choices=MembershipState, default=MembershipState.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="membership_once"),
            models.CheckConstraint(name="membership_role_known", condition=Q(role__in=[role.value for role in Role])),
            models.CheckConstraint(name="membership_state_known", condition=Q(state__in=MembershipState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.role}"
