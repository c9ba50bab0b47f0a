"""Bringing the rights of a subscription in line with its plan."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.entitlements.services.provisioning import Sold, reconcile
from apps.kernel.http.ratelimit import limit_rate
from apps.kernel.http.views import ContractView, Request
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.subscriptions import subscriptions_of

CALLS_PER_SECOND = 2


class ReconcileSerializer(serializers.Serializer[Any]):
    dryRun = serializers.BooleanField(default=False)


class ReconciliationSerializer(serializers.Serializer[Any]):
    object = serializers.CharField()
    dryRun = serializers.BooleanField()
    features = serializers.DictField(
        help_text="Lists `added`, `skipped`, `removed` and `failed`, each of {featureId, featureKey, …}."
    )
    lineItems = serializers.DictField(help_text="Lines are derived, so they are never out of step.")


class Reconciliation(ContractView):
    scopes: ClassVar[dict[str, str]] = {"POST": "subscriptions:write"}

    @extend_schema(
        operation_id="reconcileSubscriptionFeatures",
        request=ReconcileSerializer,
        responses={200: ReconciliationSerializer, 201: ReconciliationSerializer},
        description="201 when rights were made and none failed; 200 else, as for a dry run.",
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.get_own(subscriptions_of(organization_id=self.organization_id), public_id, "subscription")
        limit_rate(name="subscriptions.reconcile", caller=self.principal.key_id, calls=CALLS_PER_SECOND)
        is_dry = self.read(ReconcileSerializer)["dryRun"]
        found = reconcile(subscription_id=subscription.pk, as_of=current_time(subscription), is_dry=is_dry)
        body = {
            "object": "subscriptionReconciliation",
            "dryRun": is_dry,
            "features": {
                "added": [{**_named(sold), "billed": sold.is_billed} for sold in found.added],
                "skipped": [_named(sold) for sold in found.skipped],
                "removed": [{"featureId": row.public_id, "featureKey": row.key} for row in found.removed],
                "failed": [
                    {"featureId": row.public_id, "featureKey": row.key, "reason": reason}
                    for row, reason in found.failed
                ],
            },
            "lineItems": {"created": 0, "removed": 0, "syncFailed": False},
        }
        is_made = bool(found.added) and not found.failed and not is_dry
        return Response(body, status=201 if is_made else 200)


def _named(sold: Sold) -> dict[str, str]:
    return {"featureId": sold.feature.public_id, "featureKey": sold.feature.key}
