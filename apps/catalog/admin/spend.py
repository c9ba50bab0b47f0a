"""Commitments and caps in the forms of plans and prices, and on the pages of what has them for ever."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.catalog.domain.cadences import find_cadence_problem
from apps.catalog.models import SpendKind, SpendTerms
from apps.catalog.selectors.spend import Spend, SpendAmount
from apps.kernel.adminsite.inlines import ReadOnlyInline

CADENCE_HELP = "Such as P1Y; empty: each billing period."
SPEND_FIELDS = ("commitment_amount", "commitment_cadence", "cap_amount", "cap_cadence")


class SpendForm(forms.ModelForm):
    """What a plan and a price may ask for beside their own fields; a subclass says what holds now."""

    commitment_amount = forms.DecimalField(
        label="Minimum commitment", max_digits=24, decimal_places=9, min_value=0, required=False,
        widget=UnfoldAdminTextInputWidget, help_text="What a full period bills at least; empty: none.",
    )  # fmt: skip
    commitment_cadence = forms.CharField(
        label="Commitment period", max_length=20, required=False, widget=UnfoldAdminTextInputWidget,
        help_text=CADENCE_HELP,
    )  # fmt: skip
    cap_amount = forms.DecimalField(
        label="Spend cap", max_digits=24, decimal_places=9, min_value=0, required=False,
        widget=UnfoldAdminTextInputWidget, help_text="What a full period bills at most; empty: any amount.",
    )  # fmt: skip
    cap_cadence = forms.CharField(
        label="Cap period", max_length=20, required=False, widget=UnfoldAdminTextInputWidget, help_text=CADENCE_HELP
    )

    def start_with(self, spend: Spend) -> None:
        """Fill in what holds now."""
        for kind, terms in spend.items():
            self.initial[f"{kind}_amount"], self.initial[f"{kind}_cadence"] = terms.amount, terms.cadence

    def chosen_spend(self) -> dict[str, SpendAmount | None]:
        """Give what the form asks for, by kind; None of what was left blank."""
        found: dict[str, SpendAmount | None] = {}
        for kind in SpendKind.values:
            amount = self.cleaned_data.get(f"{kind}_amount")
            cadence = self.cleaned_data.get(f"{kind}_cadence") or ""
            found[kind] = None if amount is None else SpendAmount(amount, cadence)
        return found

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        for kind in SpendKind.values:
            cadence = data.get(f"{kind}_cadence")
            problem = find_cadence_problem(cadence) if cadence else None
            if problem is not None:
                self.add_error(f"{kind}_cadence", problem)
        if data.get("commitment_amount") == 0:
            self.add_error("commitment_amount", "Must be above 0; leave it blank for none.")
        return data


def own_fields(form: forms.ModelForm) -> dict[str, Any]:
    """Give what a form says of the row itself."""
    return {name: value for name, value in form.cleaned_data.items() if name not in SPEND_FIELDS}


class SpendInline(ReadOnlyInline):
    """The commitments and caps of an edition that never changes."""

    model = SpendTerms
    fields = readonly_fields = ["kind", "amount", "cadence"]
    verbose_name_plural = "Commitments and caps"
