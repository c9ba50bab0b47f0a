"""Service rules in admin forms."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms

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
