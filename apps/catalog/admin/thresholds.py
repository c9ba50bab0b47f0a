"""Billing thresholds of a plan."""

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget

from apps.catalog.domain.thresholds import SCOPES, BillingThresholds
from apps.catalog.models import PlanVersion
from apps.catalog.services.plans import update_plan
from apps.kernel.adminsite.actions import Call
from apps.kernel.adminsite.forms import MarksForm, told
from apps.kernel.errors import InvalidError
from apps.kernel.money import minor_digits


class PlanThresholdsForm(MarksForm):
    """At which amounts usage is billed; none at all bills nothing early."""

    scope = forms.ChoiceField(
        label="Counting", choices=[(scope, scope) for scope in SCOPES], widget=UnfoldAdminSelectWidget
    )


def change_thresholds(call: Call) -> str:
    """Publish a version of the plan with other thresholds."""
    data, plan = call.data, call.row
    thresholds = None
    if data["values"].split() or data["every"]:
        sent = {"amounts": data["values"].split(), "every": data["every"] or None, "scope": data["scope"]}
        try:
            thresholds = BillingThresholds.parse(sent, digits=minor_digits(plan.currency))
        except InvalidError as error:
            raise told(error) from error
    changed = update_plan(plan_id=plan.pk, changes={}, price_ids=None, as_of=call.now, thresholds=thresholds)
    return f"The plan sells version {changed.default_version}: {words_of_thresholds(changed.default_version)}."


def words_of_thresholds(version: PlanVersion | None) -> str:
    """Give the thresholds of a version in words."""
    found = BillingThresholds.of_stored(version.billing_thresholds) if version is not None else None
    if found is None:
        return "usage is not billed early"
    every = [f"then every {found.marks.every}"] if found.marks.every is not None else []
    return f"usage is billed at {', '.join([*map(str, found.marks.once), *every])} of each {found.scope}"
