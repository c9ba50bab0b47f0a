from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.models import TrialUsage
from apps.catalog.selectors.catalog import plans_of
from apps.customers.models import Customer
from apps.customers.selectors.customers import customers_of
from apps.customers.services.customers import check_tax_rates, create_customer
from apps.invoicing.api.outputs import render_subscription
from apps.invoicing.api.subscription_inputs import (
    CreateSubscriptionSerializer,
    TerminateSerializer,
    UpdateSubscriptionSerializer,
    chosen_items,
)
from apps.invoicing.services.approving import set_approval
from apps.invoicing.services.subscribing import subscribe
from apps.invoicing.services.terminating import set_end, terminate_subscription
from apps.invoicing.services.terms import set_auto_renewal
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import InstantField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.organizations.models import Organization
from apps.organizations.services.organizations import find_or_create_consumer
from apps.subscriptions.models import Subscription, SubscriptionStatus
from apps.subscriptions.selectors.clocks import clocks_of, current_time
from apps.subscriptions.selectors.subscriptions import subscriptions_of
from apps.subscriptions.services.reminders import renew_reminder
from apps.subscriptions.services.subscriptions import SubscriptionOptions

SCOPES = {
    "GET": "subscriptions:read",
    "POST": "subscriptions:write",
    "PATCH": "subscriptions:write",
    "DELETE": "subscriptions:write",
}


class SubscriptionSerializer(serializers.Serializer[Any]):
    """A subscription; `payment` says how its Invoice 0 stands."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    customerId = serializers.CharField()
    planId = serializers.CharField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=["pending_payment", "active", "terminated"])
    startedAt = InstantField()
    billingAnchor = InstantField()
    billingCadence = serializers.CharField()
    versionPolicy = serializers.CharField()
    paymentTermDays = serializers.IntegerField()
    autoApprove = serializers.BooleanField(allow_null=True)
    pausedAt = InstantField(required=False)
    termPeriods = serializers.IntegerField(required=False)
    termNumber = serializers.IntegerField(required=False)
    termEndsAt = InstantField(required=False)
    autoRenew = serializers.BooleanField(required=False)
    remindedAt = InstantField(required=False)
    trialEndsAt = InstantField(required=False)
    trialUsage = serializers.ChoiceField(choices=TrialUsage.values, required=False)
    cancelsAt = InstantField(required=False)
    nextPlanId = serializers.CharField(required=False)
    replacesSubscriptionId = serializers.CharField(required=False)
    payment = serializers.DictField(required=False)
    items = serializers.ListField(child=serializers.DictField())
    createdAt = InstantField()
    updatedAt = InstantField()


class SubscriptionView(ContractView):
    scopes = SCOPES

    def subscription(self, public_id: str) -> Subscription:
        rows = subscriptions_of(organization_id=self.organization_id)
        return self.get_own(rows, public_id, "subscription")

    def rendered(self, public_id: str, status: int = 200) -> Response:
        return Response(render_subscription(self.subscription(public_id)), status=status)


class SubscribingView(SubscriptionView):
    def asked(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give what is asked for as the use-cases take it, but for the customer."""
        plan = self.get_own(plans_of(organization_id=self.organization_id), data["planId"], "plan")
        clock = None
        if "testClockId" in data:
            clocks = clocks_of(organization_id=self.organization_id)
            clock = self.get_own(clocks, data["testClockId"], "test clock")
        redirects = data.get("redirectUrls", {})
        options = SubscriptionOptions(
            ending_at=data.get("endingAt"),
            term_periods=data.get("termPeriods"),
            auto_renew=data.get("autoRenew"),
            billing_day=data.get("billingDay"),
            trial_ends_at=data.get("trialEndsAt"),
            trial_period=data.get("trialPeriod"),
            trial_usage=data.get("trialUsage"),
            test_clock=clock,
            elapsed_period_billing=data["elapsedPeriodBilling"],
            auto_charge=data["autoCharge"],
            auto_approve=data.get("autoApprove"),
            tax_exempt=data["taxExempt"],
            payment_term_days=data.get("paymentTermDays", 0),
            session_expiry_minutes=data.get("sessionExpiryMinutes", 240),
            version_policy=data["versionPolicy"],
            redirect_on_success=redirects.get("onSuccess", ""),
            redirect_on_failure=redirects.get("onFailure", ""),
            renewal_reminder_enabled=data.get("renewalReminderEnabled"),
            renewal_reminder_days=data.get("renewalReminderDays"),
            minimum_account_balance=data.get("minimumAccountBalance", ""),
            items=chosen_items(data.get("items", [])),
            change_reason=data.get("changeReason", ""),
            change_description=data.get("changeDescription", ""),
            change_metadata=data.get("changeMetadata", {}),
            metadata=data.get("metadata", {}),
        )
        return {
            "plan": plan,
            "name": data["name"],
            "started_at": data["startedAt"],
            "as_of": clock.current_time if clock is not None else wall_now(),
            "options": options,
        }

    def customer(self, data: dict[str, Any]) -> Customer:
        """Give the subscriber that is named, or make the one that is described."""
        if "customerId" in data:
            rows = customers_of(organization_id=self.organization_id)
            return self.get_own(rows, data["customerId"], "customer")
        sent = data["customer"]
        merchant = Organization.objects.get(pk=self.organization_id)
        consumer = find_or_create_consumer(
            merchant=merchant,
            name=sent["name"],
            email=sent["email"],
            phone=sent.get("phone", ""),
            address=dict(sent["address"]),
        )
        customer, _ = create_customer(
            merchant=merchant,
            consumer=consumer,
            tax_rates=check_tax_rates(sent.get("taxRates", {})),
            as_of=wall_now(),
        )
        return customer


class SubscriptionList(SubscribingView):
    @extend_schema(
        operation_id="listSubscriptions",
        parameters=[
            OpenApiParameter("consumerId", str),
            OpenApiParameter("customerId", str),
            OpenApiParameter("merchantId", str),
            OpenApiParameter("status", str, many=True, enum=["active", "terminated", "pending_payment"]),
            OpenApiParameter("startedBefore", str),
            OpenApiParameter("include", str, enum=["customer"]),
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
        ],
        responses=page_of(SubscriptionSerializer),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        self.require_merchant(query.get("merchantId"))
        if query.get("customerId"):
            # A customer is one consumer of one merchant; a second of these could only contradict it.
            errors = [
                FieldError(name, "Not together with customerId; send one of them.", "invalid")
                for name in ("consumerId", "merchantId")
                if query.get(name)
            ]
            if errors:
                raise InvalidError("customerId says it all.", errors=errors)
        rows = subscriptions_of(organization_id=self.organization_id).select_related("customer__consumer")
        if query.get("customerId"):
            customer = self.get_own(
                customers_of(organization_id=self.organization_id), query["customerId"], "customer"
            )
            rows = rows.filter(customer=customer)
        if query.get("consumerId"):
            rows = rows.filter(customer__consumer__public_id=query["consumerId"])
        if query.getlist("status"):
            rows = rows.filter(status__in=_states(query.getlist("status")))
        if query.get("startedBefore"):
            rows = rows.filter(started_at__lte=self.query_instant("startedBefore"))
        with_customer = query.get("include") == "customer"
        return Response(list_page(request, rows, lambda row: render_subscription(row, with_customer=with_customer)))

    @extend_schema(
        operation_id="createSubscription",
        request=CreateSubscriptionSerializer,
        responses={
            201: SubscriptionSerializer,
            200: OpenApiResponse(SubscriptionSerializer, "The customer has it already."),
        },
    )
    def post(self, request: Request) -> Response:
        data = self.read(CreateSubscriptionSerializer)
        asked = self.asked(data)
        # A refused subscription leaves no customer behind either.
        with transaction.atomic():
            subscription, is_new = subscribe(customer=self.customer(data), **asked)
        return self.rendered(subscription.public_id, status=201 if is_new else 200)


class SubscriptionDetail(SubscriptionView):
    PLAIN = {
        "autoCharge": "auto_charge",
        "taxExempt": "tax_exempt",
        "minimumAccountBalance": "minimum_account_balance",
        "renewalReminderEnabled": "renewal_reminder_enabled",
        "renewalReminderDays": "renewal_reminder_days",
        "paymentTermDays": "payment_term_days",
        "versionPolicy": "version_policy",
    }

    @extend_schema(operation_id="getSubscription", responses=SubscriptionSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return self.rendered(public_id)

    @extend_schema(
        operation_id="updateSubscription",
        request=UpdateSubscriptionSerializer,
        responses=SubscriptionSerializer,
    )
    @transaction.atomic
    def patch(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        data = self.read(UpdateSubscriptionSerializer)
        now = current_time(subscription)
        if data.get("status") == "active" and subscription.status != SubscriptionStatus.ACTIVE:
            raise InvalidError(
                "A subscription becomes active when its Invoice 0 is paid.",
                errors=[FieldError("status", "Pay the invoice instead.", "invalid")],
            )
        plain: dict[str, Any] = {own: data[name] for name, own in self.PLAIN.items() if name in data}
        if plain.get("version_policy") == "floating":
            plain["next_version"] = None  # it goes where its plan goes
        if plain:
            for name, value in plain.items():
                setattr(subscription, name, value)
            subscription.save(update_fields=[*plain, "updated_at"])
            renew_reminder(subscription_id=subscription.pk)
        if "autoApprove" in data:
            set_approval(subscription_id=subscription.pk, auto_approve=data["autoApprove"])
        if "autoRenew" in data:
            set_auto_renewal(subscription_id=subscription.pk, renews=data["autoRenew"], as_of=now)
        if "endingAt" in data:
            set_end(subscription_id=subscription.pk, ending_at=data["endingAt"], as_of=now)
        if data.get("status") == "terminated":
            terminate_subscription(
                subscription_id=subscription.pk,
                as_of=now,
                at=data.get("terminatedAt"),
                by=data.get("terminatedBy", self.principal.user_public_id),
                reason=data.get("terminationReason", "Terminated over the API."),
            )
        return self.rendered(public_id)


class SubscriptionTermination(SubscriptionView):
    @extend_schema(
        operation_id="terminateSubscription", request=TerminateSerializer, responses=SubscriptionSerializer
    )
    def post(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        data = self.read(TerminateSerializer)
        terminate_subscription(
            subscription_id=subscription.pk,
            as_of=current_time(subscription),
            by=self.principal.user_public_id,
            reason=data["reason"],
            change_reason=data.get("changeReason", ""),
        )
        return self.rendered(public_id)


def _states(names: list[str]) -> list[str]:
    """Give the stored states that the wire's states stand for."""
    unknown = set(names) - {"active", "terminated", "pending_payment"}
    if unknown:
        raise InvalidError(
            "Unknown status.",
            errors=[FieldError("status", "Use active, terminated or pending_payment.", "invalid")],
        )
    return [*names, *(["scheduled"] if "pending_payment" in names else [])]
