from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from apps.invoicing.models import BillingRun, BillingRunItem, RunItemStatus, RunStatus
from apps.invoicing.selectors.billing_runs import (
    Progress,
    compare_runs,
    find_earlier_run,
    in_scope,
    not_held,
    progress_of,
    progress_of_each,
)
from apps.invoicing.services.billing_runs import (
    cancel_run,
    forget_preview,
    pause_run,
    plan_run,
    preview_run,
    retry_run,
    start_run,
)
from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.kernel.adminsite.display import link, listing, moment, money
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.kernel.money import format_money
from apps.subscriptions.models import Subscription

ASKED = ["organization", "name", "plan", "closed_until", "waits_for_grace"]
COMPARED = 20
WORDS = {"up": "more", "down": "less", "new": "new", "missing": "missing", "same": "same", "unknown": "not known yet"}


class RunForm(forms.ModelForm):
    """What a new run is for."""

    closed_until = forms.SplitDateTimeField(required=False)

    class Meta:
        model = BillingRun
        fields = ASKED

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        plan, organization = data.get("plan"), data.get("organization")
        if plan is not None and organization is not None and plan.organization_id != organization.pk:
            self.add_error("plan", "Choose a plan of the organization.")
        if data.get("closed_until") and data["closed_until"] > wall_now():
            self.add_error(
                "closed_until", "Periods that are still open cannot be billed; give a moment that is past."
            )
        if organization is not None and not self.errors:
            asked = BillingRun(
                organization=organization, plan=plan, closed_until=data.get("closed_until") or wall_now()
            )
            if not not_held(in_scope(asked)).exists():
                self.add_error(None, "No closed period waits for its invoice here.")
        return data


def _preview(call: Call) -> str:
    if not call.row.items.filter(status=RunItemStatus.WAITING, previewed_at__isnull=True).exists():
        forget_preview(run_id=call.row.pk)
    left = preview_run(run_id=call.row.pk, as_of=call.now)
    return f"Looked at; {left} are left, preview again." if left else "All that waits was looked at."


def _start(call: Call) -> str:
    start_run(run_id=call.row.pk, as_of=call.now)
    return "It is worked through within seconds, or as grace periods end."


def _pause(call: Call) -> str:
    pause_run(run_id=call.row.pk)
    return "Paused; what waits is held."


def _retry(call: Call) -> str:
    return f"{retry_run(run_id=call.row.pk, as_of=call.now)} are calculated again."


def _cancel(call: Call) -> str:
    cancel_run(run_id=call.row.pk, as_of=call.now)
    return "Cancelled; the ordinary job takes what waited."


@admin.register(BillingRun)
class BillingRunAdmin(BillingModelAdmin):
    """Invoices that are looked at, calculated and followed together."""

    add_right = "bill"
    empty_text = "A run holds the invoices of closed periods until somebody has looked at them and starts it."
    form = RunForm
    list_display = ["name", "state", "progress", "totals", "closed_until", "created_by", "started", "finished"]
    list_filter = ["organization", "status", "plan"]
    search_fields = ["public_id", "name"]
    list_select_related = ["organization", "plan"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions_detail = ["preview", "start", "pause", "retry_failed", "cancel_run"]

    preview = service_action(
        title="Preview",
        permissions=["bill"],
        description="What waits is calculated without storing an invoice, a thousand at a time.",
        run=_preview,
        form=BaseDialogForm,
        icon="visibility",
        fits=lambda run: run.status in (RunStatus.PLANNED, RunStatus.PAUSED),
    )
    start = service_action(
        title="Start",
        permissions=["bill"],
        description="Its invoices are calculated and issued.",
        run=_start,
        form=BaseDialogForm,
        icon="play_arrow",
        fits=lambda run: run.status in (RunStatus.PLANNED, RunStatus.PAUSED),
    )
    pause = service_action(
        title="Pause",
        permissions=["bill"],
        description="It stops after the group that is being calculated.",
        run=_pause,
        form=BaseDialogForm,
        icon="pause",
        fits=lambda run: run.status == RunStatus.RUNNING,
    )
    retry_failed = service_action(
        title="Retry failed",
        permissions=["bill"],
        description="After the causes of the failures are repaired.",
        run=_retry,
        form=BaseDialogForm,
        icon="refresh",
        fits=lambda run: (
            run.status not in (RunStatus.PLANNED, RunStatus.CANCELLED)
            and run.items.filter(status=RunItemStatus.FAILED).exists()
        ),
    )
    cancel_run = service_action(
        title="Cancel run",
        permissions=["bill"],
        description="What waits is left to the ordinary job; what is issued stays.",
        run=_cancel,
        form=BaseDialogForm,
        icon="cancel",
        fits=lambda run: run.status in (RunStatus.PLANNED, RunStatus.PAUSED),
    )

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        known = progress_of_each(rows)
        for row in rows:
            row.known_progress = known[row.pk]
        changelist.result_list = rows
        return changelist

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ASKED
        return [
            "state", "progress", "totals", "items_page", "comparison", "organization", "plan", "closed_until",
            "waits_for_grace", "created_by", "created_at", "started_at", "finished_at", "public_id",
        ]  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if obj is None else self.get_fields(request, obj)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        try:
            page: HttpResponse = super().add_view(request, form_url, extra_context)
        except DomainError as error:
            # Another run, or the job, took the rest since the form was checked.
            messages.error(request, error.message)
            return redirect(reverse("admin:invoicing_billingrun_changelist"))
        return page

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        data = form.cleaned_data
        made = plan_run(
            organization=data["organization"],
            as_of=wall_now(),
            closed_until=data["closed_until"],
            name=data["name"],
            plan=data["plan"],
            waits_for_grace=data["waits_for_grace"],
            by=getattr(request.user, "email", ""),
        )
        obj.pk, obj.public_id = made.pk, made.public_id

    @display(
        description="Status",
        ordering="status",
        label={"Planned": "warning", "Running": "info", "Paused": "warning", "Completed": "success"},
    )
    def state(self, run: BillingRun) -> str:
        return RunStatus(run.status).label

    @display(description="Progress")
    def progress(self, run: BillingRun) -> str:
        found = _progress(run)
        shown = ", ".join(
            f"{count} {RunItemStatus(status).label.lower()}" for status, count in sorted(found.counts.items())
        )
        return format_html(
            '<progress max="100" value="{}">{} %</progress> {} % · {}',
            found.percent,
            found.percent,
            found.percent,
            shown,
        )

    @display(description="Amounts")
    def totals(self, run: BillingRun) -> str:
        rows = (
            (format_money(done, currency), format_money(expected, currency))
            for currency, (done, expected) in _progress(run).amounts.items()
        )
        return format_html_join(mark_safe("<br>"), "{} billed, {} expected", rows) or "—"

    @display(description="Started", ordering="started_at")
    def started(self, run: BillingRun) -> str:
        return moment(run.started_at)

    @display(description="Finished", ordering="finished_at")
    def finished(self, run: BillingRun) -> str:
        return moment(run.finished_at)

    @display(description="Invoices")
    def items_page(self, run: BillingRun) -> str:
        failed = listing(BillingRunItem, "failed ones", run__id__exact=run.pk, status__exact=RunItemStatus.FAILED)
        return format_html("{} · {}", listing(BillingRunItem, "all", run__id__exact=run.pk), failed)

    @display(description="Against the last run")
    def comparison(self, run: BillingRun) -> str:
        earlier = find_earlier_run(run)
        if earlier is None:
            return "There is no earlier completed run of these subscriptions."
        total, found = compare_runs(run, earlier, limit=COMPARED)
        known = Subscription.objects.select_related("customer__consumer").in_bulk(
            [row.subscription_id for row in found]
        )
        rows = (
            (
                link(known[row.subscription_id], str(known[row.subscription_id].customer)),
                WORDS[row.change],
                _shown(row.before, row.currency),
                _shown(row.now, row.currency),
            )
            for row in found
        )
        listed = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html(
            '<p>{}, {} subscriptions in both, the largest differences first</p><table class="mg-table"><thead><tr>'
            "<th>Customer</th><th>Change</th><th>Before</th><th>Now</th></tr></thead><tbody>{}</tbody></table>",
            link(earlier), total, listed,
        )  # fmt: skip


@admin.register(BillingRunItem)
class BillingRunItemAdmin(ReadOnlyModelAdmin):
    """What became of each invoice of a run."""

    empty_text = "Each invoice of a billing run stands here, with what became of it."
    list_display = ["invoice_page", "customer_page", "state", "expected", "came_to", "why", "run_page"]
    list_filter = ["organization", "status", "currency", "run"]
    search_fields = ["invoice__public_id", "invoice__number", "customer__consumer__name"]
    list_select_related = ["run", "invoice", "customer__consumer", "organization"]
    ordering = ["-id"]

    @display(description="Invoice")
    def invoice_page(self, item: BillingRunItem) -> str:
        return link(item.invoice)

    @display(description="Customer")
    def customer_page(self, item: BillingRunItem) -> str:
        return link(item.customer)

    @display(description="Run")
    def run_page(self, item: BillingRunItem) -> str:
        return link(item.run)

    @display(
        description="Status",
        ordering="status",
        label={"Waiting": "info", "Issued": "success", "Draft to approve": "warning", "Failed": "danger"},
    )
    def state(self, item: BillingRunItem) -> str:
        return RunItemStatus(item.status).label

    @display(description="Expected", ordering="previewed_amount")
    def expected(self, item: BillingRunItem) -> str:
        return _shown(item.previewed_amount, item.currency)

    @display(description="Came to", ordering="amount")
    def came_to(self, item: BillingRunItem) -> str:
        return _shown(item.amount, item.currency)

    @display(description="Why")
    def why(self, item: BillingRunItem) -> str:
        return item.reason or "—"


def _progress(run: Any) -> Progress:
    """Give how far a run is, as a list has read it for all of its rows at once."""
    if not hasattr(run, "known_progress"):
        run.known_progress = progress_of(run)
    found: Progress = run.known_progress
    return found


def _shown(amount: Decimal | None, currency: str) -> str:
    return "—" if amount is None else money(amount, currency)
