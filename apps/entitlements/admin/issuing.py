"""A customer gets a feature, by hand: the terms of its template in plain words."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.catalog.domain.templates import MOST_SLOTS, PRIORITIES, TemplateError, read_template
from apps.catalog.models import Feature, FeatureType
from apps.customers.models import Customer
from apps.entitlements.admin.base import UnitsField
from apps.entitlements.models import Entitlement
from apps.entitlements.services.issuing import issue_entitlement
from apps.kernel.adminsite.base import Person
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError, InvalidError
from apps.kernel.exact_json import ExactJSONDecoder
from apps.subscriptions.selectors.clocks import current_time, find_simulated_present

RIGHT = "manage_subscription"
WHO = ("customer", "feature", "subscription", "active_from", "active_to")
# Labels and what is said below them.
WORDS = {
    "feature": ("Feature", "One at a time: end the right that the customer has to it first."),
    "subscription": ("Subscription", "Whose time and resets it has. Empty: none; resets count from its start."),
    "active_from": ("From", "Empty: now."),
    "active_to": ("Until", "Empty: for ever."),
}
INTERVALS = {
    "": "Never", "PT1H": "Every hour", "P1D": "Every day", "P7D": "Every week", "P1M": "Every month",
    "P3M": "Every quarter", "P1Y": "Every year",
}  # fmt: skip
HARD, SOFT = "hard", "soft"
# Fields by the keys of a template, by kind of feature.
METERED = {
    "issueAfterReset": "allowance", "usagePeriod": "reset_every", "isSoftLimit": "limit",
    "resetMinRollover": "rollover_min", "resetMaxRollover": "rollover_max",
    "preserveOverageAtReset": "carries_overage", "issueAfterResetPriority": "priority",
}  # fmt: skip
STATIC = {"slots": "slots", "config": "config"}
# Fields by those of the service's rules; what it refuses of the terms as a whole are their rollover and overage.
FIELDS_OF_RULES = {"activeTo": "active_to", "subscriptionId": "subscription", "template": "rollover_max"}
FIELDSETS = [
    (None, {"fields": WHO}),
    ("Terms of a metered feature", {"fields": tuple(METERED.values()), "classes": ["mg-kind-metered"]}),
    ("Terms of a static feature", {"fields": tuple(STATIC.values()), "classes": ["mg-kind-static"]}),
]


def _units(label: str, help_text: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=label, help_text=help_text, required=False, min_value=0, max_digits=20, decimal_places=9,
        widget=UnfoldAdminDecimalFieldWidget,
    )  # fmt: skip


class ConfigField(forms.JSONField):
    """JSON, and nothing where there is none."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class IssueForm(forms.ModelForm):
    """Asks for who, what and until when; of the terms, those of the feature's kind count.

    Attributes:
        person: who issues.
    """

    person: ClassVar[Person]

    allowance = UnitsField(
        label="Allowance", required=False, help_text="Units issued at the start and at each reset. Empty: none."
    )
    reset_every = forms.ChoiceField(
        label="Resets", required=False, choices=INTERVALS, widget=UnfoldAdminSelectWidget,
        help_text="When usage counts from zero and the allowance is issued again.",
    )  # fmt: skip
    limit = forms.ChoiceField(
        label="When nothing is left", choices={HARD: "No more use", SOFT: "Use goes on and is billed"}, initial=HARD,
        required=False, widget=UnfoldAdminSelectWidget,
    )  # fmt: skip
    rollover_min = _units("A reset keeps at least", "Units of the allowance's rest that go on. Empty: 0.")
    rollover_max = _units("A reset keeps at most", "What is left beyond is forfeited. Empty: 0, nothing is kept.")
    carries_overage = forms.BooleanField(
        label="Carry overage over", required=False, widget=UnfoldBooleanSwitchWidget,
        help_text="The next units pay it; otherwise a reset forgives it.",
    )  # fmt: skip
    priority = forms.IntegerField(
        label="Priority of the allowance", required=False, initial=1, min_value=PRIORITIES[0],
        max_value=PRIORITIES[1], widget=UnfoldAdminIntegerFieldWidget,
        help_text="Lower numbers are used first; grants have 0 unless they say otherwise.",
    )  # fmt: skip
    slots = forms.IntegerField(
        label="Slots", required=False, min_value=0, max_value=MOST_SLOTS, widget=UnfoldAdminIntegerFieldWidget,
        help_text="How many may be held at once. Empty: it has no slots.",
    )  # fmt: skip
    config = ConfigField(
        label="Configuration", required=False, decoder=ExactJSONDecoder,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text='What the feature is set to, a JSON object such as {"region": "eu"}.',
    )  # fmt: skip

    class Meta:
        model = Entitlement
        fields = WHO

    class Media:
        js = ("admin/js/jquery.init.js", "metergate/issuing.js")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["active_from"].required = False
        for name, (label, text) in WORDS.items():
            self.fields[name].label, self.fields[name].help_text = label, text
        customers: Any = self.fields["customer"]
        features: Any = self.fields["feature"]
        subscriptions: Any = self.fields["subscription"]
        customers.queryset = customers.queryset.filter(deleted_at__isnull=True)
        features.required = True
        features.queryset = self._features(features.queryset, customer := self._chosen_customer())
        subscriptions.queryset = subscriptions.queryset.filter(customer=customer)
        offered = list(features.queryset)
        is_of_many = len({row.organization_id for row in offered}) > 1
        features.label_from_instance = lambda row: _feature_in_words(row, is_of_many=is_of_many)
        # The page shows the terms that the feature has.
        select = getattr(features.widget, "widget", features.widget)
        select.attrs["data-kinds"] = json.dumps({row.pk: row.type for row in offered})

    def _features(self, rows: QuerySet[Feature], customer: Customer | None) -> QuerySet[Feature]:
        """Give what may be chosen: the features of the customer's merchant, once it is known."""
        rows = rows.filter(deleted_at__isnull=True).select_related("product", "organization")
        if customer is not None:
            rows = rows.filter(organization_id=customer.organization_id)
        return rows.order_by("organization__name", "product__name", "name", "pk")

    def _chosen_customer(self) -> Customer | None:
        field: Any = self.fields["customer"]
        value = self.data.get("customer") if self.is_bound else self.initial.get("customer")
        return field.queryset.filter(pk=value).first() if str(value or "").isdigit() else None

    def _post_clean(self) -> None:
        # Nothing is written to the form's own row: the use-case makes it, as the last step of checking the form, so
        # that every refusal stands on it.
        if self.errors:
            return
        data = self.cleaned_data
        if not self.person.has_right(RIGHT, data["customer"].organization_id):
            self.add_error("customer", "You may not issue entitlements of its merchant.")
            return
        template, names = self._template(data["feature"].type)
        try:
            read_template(template, kind=data["feature"].type)
        except TemplateError as error:
            for key, problem in error.problems.items():
                self.add_error(names.get(key.split(".")[0]), problem)
            return
        self._issue(template)

    def _template(self, kind: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Give the template that the form says, and its fields by the template's keys."""
        data = self.cleaned_data
        if kind == FeatureType.METERED:
            every = {"interval": data["reset_every"]} if data["reset_every"] else None
            said = {key: data[name] for key, name in METERED.items()}
            said |= {"usagePeriod": every, "isSoftLimit": data["limit"] == SOFT}
        elif kind == FeatureType.STATIC:
            said = {key: data[name] for key, name in STATIC.items()}
        else:
            said = {}
        return {key: value for key, value in said.items() if value is not None}, {**METERED, **STATIC}

    def _issue(self, template: Mapping[str, Any]) -> None:
        data = self.cleaned_data
        try:
            self.instance = issue_entitlement(
                customer=data["customer"],
                feature=data["feature"],
                template=template,
                active_from=data["active_from"] or self._present(),
                active_to=data["active_to"],
                subscription=data["subscription"],
            )
        except InvalidError as error:
            for problem in error.errors:
                self.add_error(FIELDS_OF_RULES.get(problem.field), problem.message)
        except ConflictError as error:
            # Another right to it, or prices of it that do not fit each other.
            self.add_error("feature", error.message)

    def _present(self) -> datetime:
        customer, subscription = self.cleaned_data["customer"], self.cleaned_data["subscription"]
        if subscription is not None:
            return current_time(subscription)
        return find_simulated_present(customer.pk) or wall_now()

    def save(self, commit: bool = True) -> Entitlement:
        """Give the right that was issued."""
        made: Entitlement = self.instance
        return made

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""


def _feature_in_words(row: Feature, *, is_of_many: bool) -> str:
    words = f"{row.product}: {row.name} ({row.get_type_display().lower()})"
    return f"{row.organization} — {words}" if is_of_many else words
