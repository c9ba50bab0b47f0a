"""Buttons that run a use-case: permission, a dialog, one transaction a row, a log entry, a message."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action
from unfold.forms import BaseDialogForm

from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError


@dataclass(frozen=True, slots=True)
class Call:
    """What an action's use-case gets: the row, what the dialog asked for, who acts, and the present."""

    row: Any
    data: dict[str, Any]
    actor: Any
    now: datetime


Run = Callable[[Call], str]


def service_action(
    *,
    title: str,
    permissions: list[str],
    description: str,
    run: Run,
    form: type[BaseDialogForm] = BaseDialogForm,
    icon: str | None = None,
    submit: str | None = None,
    fits: Callable[[Any], bool] | None = None,
) -> Any:
    """Make a button on a row's page that runs a use-case.

    A GET only draws the dialog; only its POST acts.

    Args:
        title: what the button says.
        permissions: rights that are needed, by the names of the `has_…_permission` methods.
        description: the consequence, in one sentence.
        run: runs the use-case and gives the message for the person; a DomainError becomes an error message.
        form: what the dialog asks for.
        icon: its symbol.
        submit: what the dialog's button says; the title by default.
        fits: whether the row's state lets the button do anything; where it does not, it is not drawn.

    Raises:
        ValueError: no permission is named; such a button would be open to everybody who can look.
    """
    if not permissions:
        raise ValueError(f"the action {title!r} names no permission")

    def act(admin: Any, request: HttpRequest, dialog: BaseDialogForm, object_id: str) -> HttpResponse:
        row: Model | None = admin.get_object(request, object_id)
        back = reverse(f"admin:{admin.opts.app_label}_{admin.opts.model_name}_change", args=[object_id])
        if row is None:
            messages.error(request, "There is no such row any more.")
            return _go(request, reverse("admin:index"))
        try:
            with transaction.atomic():
                said = run(Call(row=row, data=dialog.cleaned_data, actor=request.user, now=wall_now()))
                admin.log_change(request, row, f"{title}: {said}")
        except DomainError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, said)
        return _go(request, back)

    name = title.lower().replace(" ", "_").replace("-", "_")
    act.__name__ = act.__qualname__ = name
    made = action(
        description=title,
        permissions=permissions,
        url_path=name.replace("_", "-"),
        icon=icon,
        dialog={
            "title": title,
            "description": description,
            "form_class": form,
            "form_submit_text": submit or title,
        },
    )(act)
    made.fits = fits
    return made


def _go(request: HttpRequest, address: str) -> HttpResponse:
    """Leave the dialog: it was loaded into the page, so the page itself must move on."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": address})
    return redirect(address)
