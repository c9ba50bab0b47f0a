"""What happens to a living subscription, over the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.selectors.catalog import plans_of
from apps.invoicing.api.outputs import render_subscription
from apps.invoicing.api.subscriptions import SCOPES, SubscriptionSerializer, SubscriptionView
from apps.invoicing.services.cancelling import schedule_cancellation, undo_cancellation
from apps.invoicing.services.changing import NOW, PERIOD_END, change_plan
from apps.invoicing.services.migrating import IMMEDIATE, NEXT_PERIOD, migrate_version
from apps.invoicing.services.pausing import pause_subscription, resume_subscription
from apps.invoicing.services.trials import move_trial_end
from apps.kernel.http.fields import InstantField, StrictCharField
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


class SubscriptionPausing(SubscriptionView):
    @extend_schema(operation_id="pauseSubscription", request=None, responses=SubscriptionSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Pause a subscription: no fees from now on; what was prepaid is credited."""
        subscription = self.subscription(public_id)
        pause_subscription(subscription_id=subscription.pk, as_of=current_time(subscription))
        return self.rendered(public_id)


class SubscriptionResumption(SubscriptionView):
    @extend_schema(operation_id="resumeSubscription", request=None, responses=SubscriptionSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Let a paused subscription go on."""
        subscription = self.subscription(public_id)
        resume_subscription(subscription_id=subscription.pk, as_of=current_time(subscription))
        return self.rendered(public_id)


class CancelSerializer(serializers.Serializer[Any]):
    reason = StrictCharField(min_length=1, max_length=1000)
    cancelsAt = InstantField(required=False)


class SubscriptionCancellation(SubscriptionView):
    scopes = SCOPES | {"DELETE": "subscriptions:write"}

    @extend_schema(operation_id="cancelSubscription", request=CancelSerializer, responses=SubscriptionSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Let a subscription end on a date; without one, with its open period."""
        subscription = self.subscription(public_id)
        data = self.read(CancelSerializer)
        schedule_cancellation(
            subscription_id=subscription.pk,
            as_of=current_time(subscription),
            at=data.get("cancelsAt"),
            reason=data["reason"],
            by=self.principal.user_public_id,
        )
        return self.rendered(public_id)

    @extend_schema(operation_id="undoSubscriptionCancellation", responses=SubscriptionSerializer)
    def delete(self, request: Request, public_id: str) -> Response:
        """Take a cancellation back before it comes."""
        subscription = self.subscription(public_id)
        undo_cancellation(subscription_id=subscription.pk, as_of=current_time(subscription))
        return self.rendered(public_id)


class TrialSerializer(serializers.Serializer[Any]):
    trialEndsAt = InstantField()


class SubscriptionTrial(SubscriptionView):
    @extend_schema(operation_id="moveTrialEnd", request=TrialSerializer, responses=SubscriptionSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Let a running trial end on another date, earlier or later."""
        subscription = self.subscription(public_id)
        data = self.read(TrialSerializer)
        move_trial_end(subscription_id=subscription.pk, as_of=current_time(subscription), at=data["trialEndsAt"])
        return self.rendered(public_id)

    @extend_schema(operation_id="endTrial", responses=SubscriptionSerializer)
    def delete(self, request: Request, public_id: str) -> Response:
        """End a running trial now."""
        subscription = self.subscription(public_id)
        move_trial_end(subscription_id=subscription.pk, as_of=current_time(subscription))
        return self.rendered(public_id)


class ChangePlanSerializer(serializers.Serializer[Any]):
    planId = StrictCharField()
    timing = serializers.ChoiceField(choices=[NOW, PERIOD_END], default=NOW)
    effectiveAt = InstantField(required=False)


class PlanChangeView(SubscriptionView):
    def asked(self, public_id: str) -> dict[str, Any]:
        """Read what is asked for, as the use-cases take it."""
        subscription = self.subscription(public_id)
        data = self.read(ChangePlanSerializer)
        return {
            "subscription_id": subscription.pk,
            "plan": self.get_own(plans_of(organization_id=self.organization_id), data["planId"], "plan"),
            "as_of": current_time(subscription),
            "timing": data["timing"],
            "at": data.get("effectiveAt"),
        }


class PlanChange(PlanChangeView):
    @extend_schema(
        operation_id="changeSubscriptionPlan", request=ChangePlanSerializer, responses=SubscriptionSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Take another plan now, with the open period's end, or on a date."""
        changed = change_plan(**self.asked(public_id), by=self.principal.user_public_id)
        return self.rendered(changed.public_id)
