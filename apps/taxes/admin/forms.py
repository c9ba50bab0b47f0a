"""Forms that run the use-cases of taxes, so that every refusal stands on them."""

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from unfold.widgets import UnfoldAdminDateWidget

from apps.kernel.adminsite.forms import check_by_rules

FIELDS = {"taxId": "tax_id", "validTo": "valid_to", "postalPrefix": "postal_prefix"}


class RuledForm(forms.ModelForm):
    """A form whose last step is the use-case that makes or changes the row.

    Attributes:
        create: takes the cleaned fields.
        update: takes the key and the changes.
    """

    create: ClassVar[Callable[..., Any]]
    update: ClassVar[Callable[..., Any]]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, self._run, FIELDS)

    def _run(self) -> None:
        data = dict(self.cleaned_data)
        if self.instance.pk is not None:
            self.instance = type(self).update(self.instance.pk, {name: data[name] for name in data})
        else:
            self.instance = type(self).create(data)

    def save(self, commit: bool = True) -> Any:
        """Give the row as the use-case left it."""
        return self.instance

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""


class DatedForm(RuledForm):
    """One that asks for the days on which the row holds."""

    valid_from = forms.DateField(
        required=False, widget=UnfoldAdminDateWidget, help_text="The first day; empty: since ever."
    )
    valid_to = forms.DateField(
        required=False, widget=UnfoldAdminDateWidget, help_text="The day after the last; empty: until further notice."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            valid = self.instance.valid
            self.initial["valid_from"], self.initial["valid_to"] = valid.lower, valid.upper
