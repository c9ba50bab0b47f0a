"""What a change of a subscription would bill, over the wire; nothing of it stays."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.adjustments import AGREEMENT, AgreeingView
from apps.invoicing.api.changes import (
    CancelSerializer,
    ChangePlanSerializer,
    MigrateVersionSerializer,
    PlanChangeView,
)
from apps.invoicing.api.subscriptions import CreateSubscriptionSerializer, SubscribingView, SubscriptionView
from apps.invoicing.services.previewing import (
    Bill,
    Preview,
    preview_adjustment,
    preview_cancellation,
    preview_migration,
    preview_pause,
    preview_plan_change,
    preview_resumption,
    preview_subscription,
    preview_termination,
)
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount, format_decimal
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time


class BillSerializer(serializers.Serializer[Any]):
    """A bill that a change would make."""

    lines = serializers.ListField(child=serializers.DictField())
    subtotal = serializers.CharField()
    tax = serializers.CharField()
    total = serializers.CharField()


class PreviewSerializer(serializers.Serializer[Any]):
    """What a change would bill and give back."""

    effectiveAt = InstantField(allow_null=True)
    currency = serializers.CharField()
    before = BillSerializer()
    closing = BillSerializer()
    opening = BillSerializer()
    credit = serializers.CharField()
    net = serializers.CharField()
    dueToday = serializers.CharField()


def render_preview(preview: Preview) -> Response:
    """Give a preview in the wire's form."""
    currency = preview.currency
    return Response(
        {
            "effectiveAt": None if preview.effective_at is None else format_instant(preview.effective_at),
            "currency": currency,
            "before": _bill(preview.before, currency),
            "closing": _bill(preview.closing, currency),
            "opening": _bill(preview.opening, currency),
            "credit": format_amount(preview.credit, currency),
            "net": format_amount(preview.net, currency),
            "dueToday": format_amount(preview.due_today, currency),
        }
    )


def lines_of(lines: Sequence[Any], currency: str) -> list[dict[str, Any]]:
    """Give the lines of a bill in the wire's form."""
    return [
        {
            "displayName": line.display_name,
            "periodStart": format_instant(line.period_start),
            "periodEnd": format_instant(line.period_end),
            "quantity": format_decimal(line.quantity),
            "subtotal": format_amount(line.subtotal, currency),
            "tax": format_amount(line.tax_amount, currency),
            "total": format_amount(line.total, currency),
        }
        for line in lines
    ]


def _bill(bill: Bill, currency: str) -> dict[str, Any]:
    return {
        "lines": lines_of(bill.lines, currency),
        "subtotal": format_amount(bill.subtotal, currency),
        "tax": format_amount(bill.tax, currency),
        "total": format_amount(bill.total, currency),
    }


class NewSubscriptionPreview(SubscribingView):
    @extend_schema(
        operation_id="previewSubscription", request=CreateSubscriptionSerializer, responses=PreviewSerializer
    )
    def post(self, request: Request) -> Response:
        """Say what a new subscription would bill at its start, without making it."""
        data = self.read(CreateSubscriptionSerializer)
        return render_preview(preview_subscription(customer=lambda: self.customer(data), **self.asked(data)))


class PlanChangePreview(PlanChangeView):
    @extend_schema(
        operation_id="previewSubscriptionPlanChange", request=ChangePlanSerializer, responses=PreviewSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the change would bill and give back, without making it."""
        return render_preview(preview_plan_change(**self.asked(public_id)))


class PreviewCancelSerializer(CancelSerializer):
    reason = StrictCharField(min_length=1, max_length=1000, required=False)


class CancellationPreview(SubscriptionView):
    @extend_schema(
        operation_id="previewSubscriptionCancellation", request=PreviewCancelSerializer, responses=PreviewSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the last bill would be if the subscription were cancelled."""
        subscription = self.subscription(public_id)
        at = self.read(PreviewCancelSerializer).get("cancelsAt")
        return render_preview(
            preview_cancellation(subscription_id=subscription.pk, as_of=current_time(subscription), at=at)
        )


class TerminationPreview(SubscriptionView):
    @extend_schema(operation_id="previewSubscriptionTermination", request=None, responses=PreviewSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the last bill would be if the subscription ended now."""
        subscription = self.subscription(public_id)
        return render_preview(preview_termination(subscription_id=subscription.pk, as_of=current_time(subscription)))


class PausePreview(SubscriptionView):
    @extend_schema(operation_id="previewSubscriptionPause", request=None, responses=PreviewSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Say what a pause from now on would give back."""
        subscription = self.subscription(public_id)
        return render_preview(preview_pause(subscription_id=subscription.pk, as_of=current_time(subscription)))


class ResumptionPreview(SubscriptionView):
    @extend_schema(operation_id="previewSubscriptionResumption", request=None, responses=PreviewSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Say what going on from now would bill of the running period."""
        subscription = self.subscription(public_id)
        return render_preview(preview_resumption(subscription_id=subscription.pk, as_of=current_time(subscription)))


class VersionMigrationPreview(SubscriptionView):
    @extend_schema(
        operation_id="previewSubscriptionVersionMigration",
        request=MigrateVersionSerializer,
        responses=PreviewSerializer,
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the open bill would be after the move."""
        subscription = self.subscription(public_id)
        data = self.read(MigrateVersionSerializer)
        return render_preview(
            preview_migration(
                subscription_id=subscription.pk,
                target_number=data["targetVersionNumber"],
                timing=data.get("timing"),
                as_of=current_time(subscription),
            )
        )


class AdjustmentPreview(AgreeingView):
    @extend_schema(operation_id="previewSubscriptionAdjustment", request=AGREEMENT, responses=PreviewSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Say what the open bill would be with the adjustment."""
        return render_preview(preview_adjustment(**self.asked(public_id)))
