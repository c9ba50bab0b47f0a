"""What happens to a living subscription, over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.outputs import render_subscription
from apps.invoicing.api.subscriptions import SubscriptionSerializer, SubscriptionView
from apps.invoicing.services.migrating import IMMEDIATE, NEXT_PERIOD, migrate_version
from apps.kernel.http.fields import InstantField
from apps.kernel.http.views import Request
from apps.subscriptions.selectors.clocks import current_time


class MigrateVersionSerializer(serializers.Serializer[Any]):
    targetVersionNumber = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    timing = serializers.ChoiceField(choices=[NEXT_PERIOD, IMMEDIATE], required=False)


class MigrationSerializer(serializers.Serializer[Any]):
    """What moved, and from when."""

    fromVersionNumber = serializers.IntegerField(allow_null=True)
    toVersionNumber = serializers.IntegerField()
    effectiveAt = InstantField(allow_null=True)
    entitlementsEffectiveAt = InstantField(allow_null=True)
    changed = serializers.BooleanField()


class SyncSerializer(serializers.Serializer[Any]):
    """Lines are derived, so they are never out of step."""

    syncFailed = serializers.BooleanField()


class MigrationAnswerSerializer(serializers.Serializer[Any]):
    """A subscription that was moved to a version of its plan."""

    subscription = SubscriptionSerializer()
    migration = MigrationSerializer()
    lineItems = SyncSerializer()


class VersionMigration(SubscriptionView):
    @extend_schema(
        operation_id="migrateSubscriptionVersion",
        request=MigrateVersionSerializer,
        responses=MigrationAnswerSerializer,
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        data = self.read(MigrateVersionSerializer)
        done = migrate_version(
            subscription_id=subscription.pk,
            target_number=data["targetVersionNumber"],
            timing=data.get("timing"),
            as_of=current_time(subscription),
        )
        moved = MigrationSerializer(
            {
                "fromVersionNumber": done.from_number,
                "toVersionNumber": done.to_number,
                "effectiveAt": done.effective_at,
                "entitlementsEffectiveAt": done.features_effective_at,
                "changed": done.is_change,
            }
        )
        return Response(
            {
                "subscription": render_subscription(self.subscription(public_id)),
                "migration": moved.data,
                "lineItems": {"syncFailed": False},
            }
        )
