"""Billing runs over the wire."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.models import Plan
from apps.customers.selectors.customers import customers_of
from apps.invoicing.models import BillingRun, BillingRunItem, RunItemStatus, RunStatus
from apps.invoicing.selectors.billing_runs import (
    Difference,
    Progress,
    compare_runs,
    find_earlier_run,
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
from apps.kernel.clock import wall_now
from apps.kernel.errors import ConflictError, FieldError, InvalidError
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page, page_bounds
from apps.kernel.http.schema import ErrorSerializer
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.money import format_amount
from apps.kernel.time import format_instant
from apps.organizations.models import Organization
from apps.subscriptions.models import Subscription

PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
FORBIDDEN = OpenApiResponse(ErrorSerializer, "The state of the run forbids it, or there is nothing to do.")


class PlanRunSerializer(serializers.Serializer[Any]):
    name = StrictCharField(required=False, allow_blank=True, max_length=120)
    planId = StrictCharField(required=False, allow_null=True)
    # A filter that came out empty must not hold everybody's invoices.
    customerIds = serializers.ListField(
        child=StrictCharField(),
        required=False,
        max_length=1000,
        allow_empty=False,
        error_messages={"empty": "Name a customer, or leave it out for all of them."},
    )
    closedUntil = InstantField(required=False)
    waitsForGrace = serializers.BooleanField(required=False, default=True)


class PreviewRunSerializer(serializers.Serializer[Any]):
    again = serializers.BooleanField(
        required=False, default=False, help_text="Look at everything again, also at what was looked at."
    )


class RunTotalSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    done = serializers.CharField(help_text="What its invoices came to, with tax.")
    expected = serializers.CharField(help_text="What the waiting ones would come to, as far as they were previewed.")


class BillingRunSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=RunStatus.choices)
    planId = serializers.CharField(allow_null=True)
    closedUntil = InstantField()
    waitsForGrace = serializers.BooleanField()
    itemCount = serializers.IntegerField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Items by status.")
    percent = serializers.IntegerField()
    totals = RunTotalSerializer(many=True)
    notPreviewed = serializers.IntegerField(help_text="Waiting items that no preview has looked at.")
    createdBy = serializers.CharField(allow_blank=True)
    createdAt = InstantField()
    startedAt = InstantField(allow_null=True)
    finishedAt = InstantField(allow_null=True)


class BillingRunItemSerializer(serializers.Serializer[Any]):
    invoiceId = serializers.CharField()
    subscriptionId = serializers.CharField()
    customerId = serializers.CharField()
    status = serializers.ChoiceField(choices=RunItemStatus.choices)
    currency = serializers.CharField()
    previewedAmount = serializers.CharField(allow_null=True)
    amount = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True, help_text="Why it failed, or cannot be previewed.")
    attempts = serializers.IntegerField()


class RunDifferenceSerializer(serializers.Serializer[Any]):
    subscriptionId = serializers.CharField()
    customerId = serializers.CharField()
    currency = serializers.CharField()
    change = serializers.ChoiceField(choices=["up", "down", "same", "new", "missing", "unknown"])
    before = serializers.CharField(allow_null=True)
    now = serializers.CharField(allow_null=True)
    difference = serializers.CharField(allow_null=True)


class RunComparisonSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    billingRunId = serializers.CharField()
    earlierBillingRunId = serializers.CharField()
    data = RunDifferenceSerializer(many=True)  # type: ignore[assignment]
    pagination = serializers.DictField()


class RunView(ContractView):
    scopes = {"GET": "invoices:read", "POST": "invoices:write"}

    def run(self, public_id: str) -> BillingRun:
        rows = BillingRun.objects.select_related("organization", "plan")
        return self.get_own(rows, public_id, "billing run")

    def rendered(self, public_id: str) -> Response:
        return Response(render_run(self.run(public_id)))


class BillingRunList(RunView):
    @extend_schema(
        operation_id="listBillingRuns",
        parameters=[*PAGE, OpenApiParameter("status", str, enum=RunStatus.values)],
        responses=page_of(BillingRunSerializer),
    )
    def get(self, request: Request) -> Response:
        """List billing runs, newest first."""
        rows = BillingRun.objects.filter(organization_id=self.organization_id).select_related("organization", "plan")
        if status := request.query_params.get("status"):
            if status not in RunStatus.values:
                raise _bad("status", "There is no such state of a run.")
            rows = rows.filter(status=status)
        rows = rows.order_by("-id")
        limit, offset = page_bounds(request)
        known = progress_of_each(list(rows[offset : offset + limit]))
        return Response(list_page(request, rows, lambda run: render_run(run, known.get(run.pk))))

    @extend_schema(
        operation_id="planBillingRun",
        request=PlanRunSerializer,
        responses={201: BillingRunSerializer, 409: FORBIDDEN},
    )
    def post(self, request: Request) -> Response:
        """Gather the invoices of closed periods into a run, which holds them until it is started or cancelled."""
        data = self.read(PlanRunSerializer)
        plan = None
        if data.get("planId"):
            plan = self.get_own(Plan.objects.all(), data["planId"], "plan")
        wanted = data.get("customerIds") or []
        customers = customers_of(organization_id=self.organization_id).filter(public_id__in=wanted)
        known = dict(customers.values_list("public_id", "pk"))
        if missing := sorted(set(wanted) - set(known)):
            raise _bad("customerIds", f"There is no customer {missing[0]}.")
        run = plan_run(
            organization=Organization.objects.get(pk=self.organization_id),
            as_of=wall_now(),
            closed_until=data.get("closedUntil"),
            name=data.get("name", ""),
            plan=plan,
            customer_ids=list(known.values()),
            waits_for_grace=data["waitsForGrace"],
            by=self.principal.user_public_id,
        )
        return Response(render_run(run), status=201)


class BillingRunDetail(RunView):
    @extend_schema(operation_id="getBillingRun", responses=BillingRunSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        """Give a run with how far it is."""
        return self.rendered(public_id)


class BillingRunPreview(RunView):
    @extend_schema(
        operation_id="previewBillingRun", request=PreviewRunSerializer, responses={200: BillingRunSerializer}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Work out what waiting invoices would come to, a thousand a call; `notPreviewed` says what is left."""
        run = self.run(public_id)
        if self.read(PreviewRunSerializer)["again"]:
            forget_preview(run_id=run.pk)
        preview_run(run_id=run.pk, as_of=wall_now())
        return self.rendered(public_id)


class BillingRunStart(RunView):
    @extend_schema(
        operation_id="startBillingRun", request=None, responses={200: BillingRunSerializer, 409: FORBIDDEN}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Let the run be worked through; also resumes a paused one. Twice is fine."""
        start_run(run_id=self.run(public_id).pk, as_of=wall_now())
        return self.rendered(public_id)


class BillingRunPausing(RunView):
    @extend_schema(
        operation_id="pauseBillingRun", request=None, responses={200: BillingRunSerializer, 409: FORBIDDEN}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Stop the run after the group that is being calculated. Twice is fine."""
        pause_run(run_id=self.run(public_id).pk)
        return self.rendered(public_id)


class BillingRunRetry(RunView):
    @extend_schema(
        operation_id="retryBillingRun", request=None, responses={200: BillingRunSerializer, 409: FORBIDDEN}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Calculate again what failed."""
        retry_run(run_id=self.run(public_id).pk, as_of=wall_now())
        return self.rendered(public_id)


class BillingRunCancellation(RunView):
    @extend_schema(
        operation_id="cancelBillingRun", request=None, responses={200: BillingRunSerializer, 409: FORBIDDEN}
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Give up a planned or paused run; what waits is left to the ordinary job. Twice is fine."""
        cancel_run(run_id=self.run(public_id).pk, as_of=wall_now())
        return self.rendered(public_id)


class BillingRunItems(RunView):
    @extend_schema(
        operation_id="listBillingRunItems",
        parameters=[*PAGE, OpenApiParameter("status", str, enum=RunItemStatus.values)],
        responses=page_of(BillingRunItemSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        """List what the run holds and what became of it."""
        rows = BillingRunItem.objects.filter(run=self.run(public_id))
        rows = rows.select_related("invoice", "subscription", "customer")
        if status := request.query_params.get("status"):
            if status not in RunItemStatus.values:
                raise _bad("status", "There is no such state of an item.")
            rows = rows.filter(status=status)
        return Response(list_page(request, rows.order_by("pk"), _render_item))


class BillingRunComparison(RunView):
    @extend_schema(
        operation_id="compareBillingRun",
        parameters=[*PAGE, OpenApiParameter("with", str, description="An earlier run; else the last completed one.")],
        responses={200: RunComparisonSerializer, 409: FORBIDDEN},
    )
    def get(self, request: Request, public_id: str) -> Response:
        """Say who comes to more or less than in an earlier run, who is new and who is missing; largest first."""
        run = self.run(public_id)
        given = request.query_params.get("with")
        earlier = self.run(given) if given else find_earlier_run(run)
        if earlier is None:
            raise ConflictError("There is no earlier run to compare with.", code="NO_EARLIER_RUN")
        if earlier.pk == run.pk:
            raise _bad("with", "Give another run.")
        limit, offset = page_bounds(request)
        total, found = compare_runs(run, earlier, limit=limit, offset=offset)
        rows = Subscription.objects.select_related("customer").in_bulk([row.subscription_id for row in found])
        return Response(
            {
                "object": "billing_run_comparison",
                "billingRunId": run.public_id,
                "earlierBillingRunId": earlier.public_id,
                "data": [_render_difference(row, rows[row.subscription_id]) for row in found],
                "pagination": {"limit": limit, "offset": offset, "total": total},
            }
        )


def render_run(run: BillingRun, known: Progress | None = None) -> dict[str, Any]:
    progress = known or progress_of(run)
    return {
        "id": run.public_id,
        "object": "billing_run",
        "merchantId": run.organization.public_id,
        "name": run.name,
        "status": run.status,
        "planId": run.plan.public_id if run.plan else None,
        "closedUntil": format_instant(run.closed_until),
        "waitsForGrace": run.waits_for_grace,
        "itemCount": run.item_count,
        "counts": dict(progress.counts),
        "percent": progress.percent,
        "totals": [
            {
                "currency": currency,
                "done": format_amount(done, currency),
                "expected": format_amount(expected, currency),
            }
            for currency, (done, expected) in progress.amounts.items()
        ],
        "notPreviewed": progress.not_previewed,
        "createdBy": run.created_by,
        "createdAt": format_instant(run.created_at),
        "startedAt": None if run.started_at is None else format_instant(run.started_at),
        "finishedAt": None if run.finished_at is None else format_instant(run.finished_at),
    }


def _render_item(item: BillingRunItem) -> dict[str, Any]:
    return {
        "invoiceId": item.invoice.public_id,
        "subscriptionId": item.subscription.public_id,
        "customerId": item.customer.public_id,
        "status": item.status,
        "currency": item.currency,
        "previewedAmount": _amount(item.previewed_amount, item.currency),
        "amount": _amount(item.amount, item.currency),
        "reason": item.reason or None,
        "attempts": item.attempts,
    }


def _render_difference(row: Difference, subscription: Subscription) -> dict[str, Any]:
    is_known = row.change != "unknown"
    difference = (row.now or Decimal(0)) - (row.before or Decimal(0)) if is_known else None
    return {
        "subscriptionId": subscription.public_id,
        "customerId": subscription.customer.public_id,
        "currency": row.currency,
        "change": row.change,
        "before": _amount(row.before, row.currency),
        "now": _amount(row.now, row.currency),
        "difference": _amount(difference, row.currency),
    }


def _amount(value: Decimal | None, currency: str) -> str | None:
    return None if value is None else format_amount(value, currency)


def _bad(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
