"""Service rules in admin forms."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from apps.kernel.errors import DomainError, InvalidError


def check_by_rules(form: "forms.BaseForm", check: Callable[[], Any], names: Mapping[str, str]) -> None:
    """Run a service's rules in a form and show each refusal at its field.

    Args:
        form: being cleaned.
        check: raises what a service would refuse.
        names: form fields by the first part of a rule's field.
    """
    try:
        check()
    except InvalidError as error:
        for problem in error.errors or ():
            field = names.get(problem.field.split(".")[0])
            form.add_error(field if field in form.fields else None, f"{problem.field}: {problem.message}")
        if not error.errors:
            form.add_error(None, error.message)
    except DomainError as error:
        form.add_error(None, error.message)


class MarksForm(BaseDialogForm):
    """Values, and a step that repeats beyond them."""

    values = forms.CharField(
        max_length=1000, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Ascending, with spaces between them, such as 100 500.",
    )  # fmt: skip
    every = forms.CharField(
        max_length=60, required=False, widget=UnfoldAdminTextInputWidget,
        help_text="Then at each further step of so much; empty: at the values alone.",
    )  # fmt: skip


def told(error: InvalidError) -> InvalidError:
    """Give an error whose message says what each field's does."""
    return InvalidError(" ".join(problem.message for problem in error.errors) or error.message)
