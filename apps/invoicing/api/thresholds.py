from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.domain.thresholds import PERIOD, BillingThresholds
from apps.catalog.services.plans import Unchanged
from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.models import PassedThreshold
from apps.invoicing.selectors.watching import passed_thresholds, thresholds_of, usage_so_far
from apps.invoicing.services.thresholds import set_thresholds
from apps.kernel.http.fields import InstantField, ThresholdsField
from apps.kernel.http.views import Request
from apps.kernel.money import format_amount, format_decimal, minor_digits, round_to
from apps.kernel.time import format_instant

# Shares are shown to so many places.
RATIO_PLACES = 6
# Of those that were passed, the latest ones are shown.
SHOWN = 100


class SetThresholdsSerializer(serializers.Serializer[Any]):
    """Thresholds in place of the plan's; null bills nothing early."""

    billingThresholds = ThresholdsField(allow_null=True)


class ProgressSerializer(serializers.Serializer[Any]):
    """How far usage is from the threshold before to this one, from 0 to 1."""

    threshold = serializers.CharField()
    ratio = serializers.CharField()


class PassedThresholdSerializer(serializers.Serializer[Any]):
    """A threshold that was passed; `periodNumber` is 0 for one of the subscription's life."""

    threshold = serializers.CharField()
    amount = serializers.CharField()
    periodNumber = serializers.IntegerField()
    passedAt = InstantField()
    invoiceId = serializers.CharField(allow_null=True)


class SubscriptionThresholdsSerializer(serializers.Serializer[Any]):
    """The billing thresholds of a subscription, its usage by now, and what was passed."""

    object = serializers.CharField()
    subscriptionId = serializers.CharField()
    setOn = serializers.ChoiceField(choices=["plan", "subscription"])
    billingThresholds = ThresholdsField(allow_null=True)
    currency = serializers.CharField()
    usageAmount = serializers.CharField()
    progress = ProgressSerializer(many=True)
    passed = PassedThresholdSerializer(many=True)


class Thresholds(SubscriptionView):
    """Amounts of usage at which a subscription is billed before its period is over."""

    @extend_schema(operation_id="getBillingThresholds", responses=SubscriptionThresholdsSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return self.shown(public_id)

    @extend_schema(
        operation_id="setBillingThresholds",
        request=SetThresholdsSerializer,
        responses=SubscriptionThresholdsSerializer,
    )
    def patch(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        sent = self.read(SetThresholdsSerializer)["billingThresholds"]
        digits = minor_digits(subscription.currency)
        thresholds = None if sent is None else BillingThresholds.parse(sent, digits=digits)
        set_thresholds(subscription_id=subscription.pk, thresholds=thresholds)
        return self.shown(public_id)

    @extend_schema(operation_id="resetBillingThresholds", responses=SubscriptionThresholdsSerializer)
    def delete(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        set_thresholds(subscription_id=subscription.pk, thresholds=Unchanged.UNCHANGED)
        return self.shown(public_id)

    def shown(self, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        thresholds = thresholds_of(subscription)
        amount = usage_so_far(subscription, thresholds.scope if thresholds is not None else PERIOD)
        progress = thresholds.marks.progress(amount) if thresholds is not None else []
        return Response(
            {
                "object": "billingThresholds",
                "subscriptionId": subscription.public_id,
                "setOn": "plan" if subscription.billing_thresholds is None else "subscription",
                "billingThresholds": thresholds.as_stored() if thresholds is not None else None,
                "currency": subscription.currency,
                "usageAmount": format_amount(amount, subscription.currency),
                "progress": [
                    {"threshold": format_decimal(mark), "ratio": format_decimal(round_to(ratio, RATIO_PLACES))}
                    for mark, ratio in progress
                ],
                "passed": [_passed(row) for row in passed_thresholds(subscription)[:SHOWN]],
            }
        )


def _passed(row: PassedThreshold) -> dict[str, Any]:
    return {
        "threshold": format_decimal(row.threshold),
        "amount": format_decimal(row.amount),
        "periodNumber": row.period_number,
        "passedAt": format_instant(row.passed_at),
        "invoiceId": row.invoice.public_id if row.invoice is not None else None,
    }
