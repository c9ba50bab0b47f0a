from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin

from apps.kernel.adminsite.base import BillingModelAdmin
from apps.kernel.errors import DomainError, InvalidError


class CatalogAdmin(BillingModelAdmin):
    """Catalogue screens: owners edit, everybody looks."""

    change_right: ClassVar[str | None] = "edit_catalog"
    add_right: ClassVar[str | None] = "edit_catalog"
    list_filter = ["organization", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "public_id"]
    exclude = ["deleted_at"]
    readonly_fields = ["public_id"]
    date_hierarchy = "created_at"


def check_by_rules(form: "forms.ModelForm[Any]", check: Callable[[], Any], names: dict[str, str]) -> None:
    """Run a service's rules in a form and show each refusal at its field."""
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
