import secrets

from django import forms
from django.contrib import admin
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.entitlements.admin.base import TitledAdmin, title_of_right
from apps.entitlements.models import UsageReset
from apps.entitlements.selectors.entitlements import present_of
from apps.entitlements.services.resetting import ResetTerms, reset_entitlement
from apps.kernel.adminsite.actions import Call
from apps.kernel.adminsite.display import link, moment

AGREED, CARRY, FORGIVE = "agreed", "carry", "forgive"


class ResetForm(BaseDialogForm):
    effective = forms.SplitDateTimeField(
        label="From", required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="Empty: now."
    )
    retain_anchor = forms.BooleanField(
        label="Keep the calendar", required=False, initial=True, widget=UnfoldBooleanSwitchWidget,
        help_text="Otherwise later resets count from this one.",
    )  # fmt: skip
    overage = forms.ChoiceField(
        choices=[(AGREED, "As its terms say"), (CARRY, "Carry over"), (FORGIVE, "Forgive")],
        initial=AGREED, widget=UnfoldAdminSelectWidget,
    )  # fmt: skip
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)


def run_reset(call: Call) -> str:
    """Reset the usage of a right as a dialog says."""
    terms = ResetTerms(
        idempotency_key=f"admin-{secrets.token_hex(8)}",
        effective_at=call.data["effective"],
        retains_anchor=call.data["retain_anchor"],
        preserves_overage={AGREED: None, CARRY: True, FORGIVE: False}[call.data["overage"]],
        reason=call.data["reason"],
    )
    made, _ = reset_entitlement(entitlement_id=call.row.pk, terms=terms, as_of=present_of(call.row))
    return f"A new usage period began {moment(made.effective_at)}."


@admin.register(UsageReset)
class UsageResetAdmin(TitledAdmin):
    """Usage periods that somebody ended; what calendars reset is not listed."""

    empty_text = "Usage is reset on the page of an entitlement, or over the API."
    list_display = ["shown", "entitlement_page", "since", "retains_anchor", "preserves_overage", "reason"]
    list_filter = ["organization", "entitlement"]
    search_fields = ["public_id", "idempotency_key", "entitlement__public_id", "reason"]
    list_select_related = ["entitlement__feature", "entitlement__customer__consumer", "organization"]

    def title_of(self, row: UsageReset) -> str:
        return f"Reset of {title_of_right(row.entitlement)}"

    @display(description="Reset", header=True, ordering="id")
    def shown(self, row: UsageReset) -> list[str]:
        return [str(row.entitlement.feature), row.public_id]

    @display(description="Entitlement")
    def entitlement_page(self, row: UsageReset) -> str:
        return link(row.entitlement, title_of_right(row.entitlement))

    @display(description="From", ordering="effective_at")
    def since(self, row: UsageReset) -> str:
        return moment(row.effective_at)
