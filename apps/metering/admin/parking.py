from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import brief_json
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError
from apps.metering.models import ParkedEvent, ParkReason, ParkState
from apps.metering.selectors.parking import parked_events, with_names
from apps.metering.services.releasing import AT_ONCE, discard_parked, release_parked
from apps.organizations.models import Organization

TOO_OLD = "Keys or raw events of its time are gone, so it could not be counted exactly once. Discard it."


class ReasonForm(BaseDialogForm):
    note = forms.CharField(label="Reason", max_length=1000, widget=UnfoldAdminTextareaWidget({"rows": 3}))


class SetForm(ReasonForm):
    """Which of the parked events of a merchant, and why."""

    organization = forms.ModelChoiceField(Organization.objects.none(), widget=UnfoldAdminSelectWidget)
    reason = forms.ChoiceField(
        label="Parked as", choices=[("", "Any"), *ParkReason.choices], required=False, widget=UnfoldAdminSelectWidget
    )
    type = forms.CharField(label="Event type", required=False, widget=UnfoldAdminTextInputWidget)
    subject = forms.CharField(label="Customer id", required=False, widget=UnfoldAdminTextInputWidget)
    externalSubject = forms.CharField(  # noqa: N815 - a name of the filter
        label="Own id of the customer", required=False, widget=UnfoldAdminTextInputWidget
    )
    since = forms.SplitDateTimeField(label="From", required=False, widget=UnfoldAdminSplitDateTimeWidget)
    to = forms.SplitDateTimeField(label="Until", required=False, widget=UnfoldAdminSplitDateTimeWidget)
    field_order = ("organization", "reason", "type", "subject", "externalSubject", "since", "to", "note")

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        person: Any = request.user
        mine = Organization.objects.filter(is_merchant=True).order_by("name")
        visible = person.visible_organization_ids()
        if visible is not None:
            mine = mine.filter(pk__in=[key for key in visible if person.has_right("develop", key)])
        choice: Any = self.fields["organization"]
        choice.queryset, choice.initial = mine, mine.first()

    def chosen(self) -> QuerySet[ParkedEvent]:
        given = self.cleaned_data
        names = {"since": "from", "to": "to", "reason": "reason", "type": "type", "subject": "subject",
                 "externalSubject": "externalSubject"}  # fmt: skip
        filters = {wanted: given[name] for name, wanted in names.items() if given.get(name)}
        return parked_events(organization_id=given["organization"].pk, filters=filters)


def _decide(call: Call, decide: Any) -> Any:
    return decide(
        organization_id=call.row.organization_id,
        rows=ParkedEvent.objects.filter(pk=call.row.pk),
        by=call.actor.email,
        note=call.data["note"],
        as_of=call.now,
    )


def _release(call: Call) -> str:
    decision = _decide(call, release_parked)
    if decision.too_old:
        raise ConflictError(TOO_OLD)
    return "Released; it counts in a moment." if decision.done else "Somebody decided on it before."


def _discard(call: Call) -> str:
    return "Discarded." if _decide(call, discard_parked).done else "Somebody decided on it before."


def _set_action(title: str, description: str, decide: Any, said: str, icon: str) -> Any:
    """Make a button above the list that decides on all parked events that fit a dialog."""

    def act(screen: Any, request: HttpRequest, dialog: SetForm) -> HttpResponse:
        person: Any = request.user
        decision = decide(
            organization_id=dialog.cleaned_data["organization"].pk,
            rows=dialog.chosen(),
            by=person.email,
            note=dialog.cleaned_data["note"],
            as_of=wall_now(),
        )
        messages.success(request, f"{decision.done} {said}.")
        if decision.too_old:
            messages.warning(request, f"{len(decision.too_old)} stay: keys or raw events of their time are gone.")
        if decision.done + len(decision.too_old) == AT_ONCE:
            messages.info(request, "There may be more; run it again.")
        back = reverse("admin:metering_parkedevent_changelist")
        if request.headers.get("HX-Request"):
            return HttpResponse(headers={"HX-Redirect": back})
        return redirect(back)

    name = title.lower().replace(" ", "_")
    act.__name__ = act.__qualname__ = name
    return action(
        description=title,
        permissions=["develop"],
        url_path=name.replace("_", "-"),
        icon=icon,
        dialog={
            "title": title,
            "description": description,
            "form_class": SetForm,
            "form_submit_text": title,
        },
    )(act)


@admin.register(ParkedEvent)
class ParkedEventAdmin(ReadOnlyModelAdmin):
    """Accepted events of odd timing: they count when someone releases them."""

    empty_text = "Events that tell of a moment too far back or ahead wait here until someone decides."
    list_display = [
        "public_id", "event_type", "subject_shown", "occurred_at", "accepted_at", "reason_shown", "state_shown",
        "data_shown", "settled_by",
    ]  # fmt: skip
    list_filter = ["state", "reason", "event_type"]
    search_fields = ["=public_id", "=idempotency_key", "=external_id"]
    search_help_text = "Exact event id, idempotency key or external id"
    date_hierarchy = "accepted_at"
    ordering = ["-id"]
    actions_detail = ["release_event", "discard_event"]
    actions_list = ["release_a_set", "discard_a_set"]

    release_event = service_action(
        title="Release event",
        permissions=["develop"],
        description="It counts from then on, in the hour it tells of; an invoiced period is corrected on the next "
        "invoice. A key that is known counts once.",
        run=_release,
        form=ReasonForm,
        icon="play_arrow",
        fits=lambda row: row.state == ParkState.PARKED,
    )
    discard_event = service_action(
        title="Discard event",
        permissions=["develop"],
        description="It never counts and stays in this list, marked. This cannot be undone.",
        run=_discard,
        form=ReasonForm,
        icon="block",
        fits=lambda row: row.state == ParkState.PARKED,
    )
    release_a_set = _set_action(
        "Release a set",
        f"All parked events that fit count from then on, at most {AT_ONCE:,} at once, the oldest first.",
        release_parked,
        "released; they count in a moment",
        "playlist_play",
    )
    discard_a_set = _set_action(
        "Discard a set",
        f"All parked events that fit never count, at most {AT_ONCE:,} at once. This cannot be undone.",
        discard_parked,
        "discarded",
        "playlist_remove",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_names(super().get_queryset(request))

    @display(description="Customer named")
    def subject_shown(self, row: Any) -> str:
        return str(row.subject_name)

    @display(description="Data")
    def data_shown(self, row: ParkedEvent) -> str:
        return brief_json(row.data)

    @display(description="Reason", label={"Too late": "warning", "Too early": "info"}, ordering="reason")
    def reason_shown(self, row: ParkedEvent) -> str:
        return ParkReason(row.reason).label

    @display(description="State", label={"Parked": "warning", "Released": "success"}, ordering="state")
    def state_shown(self, row: ParkedEvent) -> str:
        return ParkState(row.state).label
