"""What is asked before a subscription changes, and what is said when it did."""

from datetime import datetime
from typing import Any

from django import forms
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from apps.catalog.selectors.catalog import plans_of
from apps.invoicing.admin.previews import PreviewForm
from apps.invoicing.services.cancelling import schedule_cancellation, undo_cancellation
from apps.invoicing.services.changing import NOW, PERIOD_END, change_plan
from apps.invoicing.services.migrating import IMMEDIATE, NEXT_PERIOD, migrate_version
from apps.invoicing.services.pausing import pause_subscription, resume_subscription
from apps.invoicing.services.previewing import (
    Preview,
    preview_cancellation,
    preview_migration,
    preview_pause,
    preview_plan_change,
    preview_resumption,
    preview_termination,
)
from apps.invoicing.services.terms import set_auto_renewal
from apps.invoicing.services.trials import move_trial_end
from apps.kernel.adminsite.actions import Call
from apps.kernel.adminsite.display import moment
from apps.kernel.errors import InvalidError, NotFoundError
from apps.kernel.time import parse_instant
from apps.subscriptions.models import Subscription
from apps.subscriptions.selectors.clocks import current_time


class ReasonForm(BaseDialogForm):
    reason = forms.CharField(label="Reason", max_length=1000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


class TerminateForm(ReasonForm, PreviewForm):
    is_ready, can_ask = True, False

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_termination(subscription_id=row.pk, as_of=current_time(row))


class PauseForm(PreviewForm):
    is_ready, can_ask = True, False

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_pause(subscription_id=row.pk, as_of=current_time(row))


class ResumeForm(PreviewForm):
    is_ready, can_ask = True, False

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_resumption(subscription_id=row.pk, as_of=current_time(row))


class MigrateForm(PreviewForm):
    version = forms.IntegerField(
        label="Version", min_value=1, max_value=2**31 - 1, widget=UnfoldAdminIntegerFieldWidget
    )
    timing = forms.ChoiceField(
        label="When",
        choices=[(NEXT_PERIOD, "At the end of the open period"), (IMMEDIATE, "At once: usage of the whole period")],
        widget=UnfoldAdminSelectWidget,
    )

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_migration(
            subscription_id=row.pk, target_number=data["version"], timing=data["timing"], as_of=current_time(row)
        )


def migrate(call: Call) -> str:
    """Move to a version of the plan."""
    done = migrate_version(
        subscription_id=call.row.pk,
        target_number=call.data["version"],
        timing=call.data["timing"],
        as_of=current_time(call.row),
    )
    if not done.is_change:
        return f"It is on version {done.to_number} already."
    return f"From version {done.from_number} to {done.to_number}; fees in advance from {moment(done.effective_at)}."


class CancelForm(ReasonForm, PreviewForm):
    is_ready = True
    cancels_at = forms.CharField(
        label="Ends at",
        required=False,
        help_text="An instant such as 2026-03-01T00:00:00Z; empty: with the open period.",
        widget=UnfoldAdminTextInputWidget,
    )

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        at = instant_of(data["cancels_at"] or "")
        return preview_cancellation(subscription_id=row.pk, as_of=current_time(row), at=at)


def instant_of(text: str) -> datetime | None:
    """Read an instant from a dialog; nothing is none."""
    try:
        return parse_instant(text) if text.strip() else None
    except (ValueError, OverflowError):
        raise InvalidError("Give an instant such as 2026-03-01T00:00:00Z, or nothing.") from None


def cancel(call: Call) -> str:
    """Announce the end."""
    cancelled = schedule_cancellation(
        subscription_id=call.row.pk,
        as_of=current_time(call.row),
        at=instant_of(call.data["cancels_at"]),
        reason=call.data["reason"],
        by=str(call.actor),
    )
    return f"It ends at {moment(cancelled.cancels_at)}; until then this can be undone."


def undo(call: Call) -> str:
    """Take an announced end or plan change back."""
    undo_cancellation(subscription_id=call.row.pk, as_of=current_time(call.row))
    return "It goes on as if it had not been cancelled."


def pause(call: Call) -> str:
    """Stop the fees."""
    paused = pause_subscription(subscription_id=call.row.pk, as_of=current_time(call.row))
    return f"Paused since {moment(paused.paused_at)}; what was prepaid is credited on the open invoice."


def resume(call: Call) -> str:
    """Let the fees count again."""
    resume_subscription(subscription_id=call.row.pk, as_of=current_time(call.row))
    return "It goes on; the rest of the running period stands on the open invoice."


class TrialForm(BaseDialogForm):
    ends_at = forms.CharField(
        label="Ends at",
        required=False,
        help_text="An instant such as 2026-03-01T00:00:00Z, earlier or later than now planned; empty: now.",
        widget=UnfoldAdminTextInputWidget,
    )


def move_trial(call: Call) -> str:
    """Let a trial end on another date."""
    moved = move_trial_end(
        subscription_id=call.row.pk, as_of=current_time(call.row), at=instant_of(call.data["ends_at"])
    )
    return f"The trial ends at {moment(moved.trial_ends_at)}."


class RenewalForm(BaseDialogForm):
    renews = forms.ChoiceField(
        label="At the end of the term",
        choices=[("yes", "Another term follows"), ("no", "The subscription ends")],
        widget=UnfoldAdminSelectWidget,
    )


def set_renewal(call: Call) -> str:
    """Say what follows the running term."""
    changed = set_auto_renewal(
        subscription_id=call.row.pk, renews=call.data["renews"] == "yes", as_of=current_time(call.row)
    )
    follows = "another one follows" if changed.auto_renew else "the subscription ends with it"
    return f"The term ends at {moment(changed.term_ends_at)}; {follows}."


class ChangePlanForm(PreviewForm):
    plan = forms.CharField(
        label="Plan", help_text="Id of another plan of the product.", widget=UnfoldAdminTextInputWidget
    )
    timing = forms.ChoiceField(
        label="When",
        choices=[(NOW, "Now"), (PERIOD_END, "At the end of the open period")],
        widget=UnfoldAdminSelectWidget,
    )
    effective_at = forms.CharField(
        label="Or on a date",
        required=False,
        help_text="An instant such as 2026-03-01T00:00:00Z; goes before the choice above.",
        widget=UnfoldAdminTextInputWidget,
    )

    def previewed(self, row: Subscription, data: dict[str, Any]) -> Preview:
        return preview_plan_change(**_asked(row, data))


def _asked(row: Subscription, data: dict[str, Any]) -> dict[str, Any]:
    public_id = data["plan"].strip()
    plan = plans_of(organization_id=row.organization_id).filter(public_id=public_id).first()
    if plan is None:
        raise NotFoundError(f"There is no plan {public_id}.")
    return {
        "subscription_id": row.pk,
        "plan": plan,
        "as_of": current_time(row),
        "timing": data["timing"],
        "at": instant_of(data["effective_at"]),
    }


def change(call: Call) -> str:
    """Change to another plan."""
    changed = change_plan(**_asked(call.row, call.data), by=str(call.actor))
    if changed.pk == call.row.pk:
        return f"The plan changes at {moment(changed.cancels_at)}; until then this can be undone."
    return f"It goes on as {changed.public_id}; this one has ended, and its unused prepaid time is credited."
