from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.selectors.catalog import metrics_of
from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.models import Alert, AlertDirection, AlertFiring, AlertScope, AlertType
from apps.invoicing.selectors.alerts import alerts_of, firings_of
from apps.invoicing.services.alerting import AlertTerms, create_alert, delete_alert, update_alert
from apps.kernel.http.fields import InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant
from apps.subscriptions.selectors.clocks import current_time

PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


class AlertMarksSerializer(serializers.Serializer[Any]):
    """The values that fire an alert; how precise they may be depends on what it watches."""

    thresholds = serializers.ListField(child=StrictCharField(max_length=60), required=False)
    every = StrictCharField(max_length=60, required=False, allow_null=True)


class CreateAlertSerializer(AlertMarksSerializer):
    name = StrictCharField(max_length=255)
    subscriptionId = StrictCharField()
    type = serializers.ChoiceField(choices=AlertType.values)
    billableMetricId = StrictCharField(required=False, allow_null=True)
    scope = serializers.ChoiceField(choices=AlertScope.values, default=AlertScope.PERIOD.value)
    direction = serializers.ChoiceField(choices=AlertDirection.values, default=AlertDirection.RISING.value)


class UpdateAlertSerializer(AlertMarksSerializer):
    name = StrictCharField(max_length=255, required=False)


class AlertSerializer(serializers.Serializer[Any]):
    """An alert of a subscription's usage."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    subscriptionId = serializers.CharField()
    name = serializers.CharField()
    type = serializers.ChoiceField(choices=AlertType.values)
    billableMetricId = serializers.CharField(allow_null=True)
    scope = serializers.ChoiceField(choices=AlertScope.values)
    direction = serializers.ChoiceField(choices=AlertDirection.values)
    thresholds = serializers.ListField(child=serializers.CharField())
    every = serializers.CharField(allow_null=True)
    createdAt = InstantField()
    updatedAt = InstantField()


class FiringSerializer(serializers.Serializer[Any]):
    """One value that was passed; `periodNumber` is 0 for one of the subscription's life."""

    id = serializers.CharField()
    object = serializers.CharField()
    alertId = serializers.CharField()
    threshold = serializers.CharField()
    value = serializers.CharField()
    periodNumber = serializers.IntegerField()
    firedAt = InstantField()


def render_alert(row: Alert) -> dict[str, Any]:
    """Give an alert in the wire's form."""
    return {
        "id": row.public_id,
        "object": "alert",
        "merchantId": row.organization.public_id,
        "subscriptionId": row.subscription.public_id,
        "name": row.name,
        "type": row.type,
        "billableMetricId": row.metric.public_id if row.metric is not None else None,
        "scope": row.scope,
        "direction": row.direction,
        "thresholds": row.thresholds,
        "every": row.every or None,
        "createdAt": format_instant(row.created_at),
        "updatedAt": format_instant(row.updated_at),
    }


class AlertView(SubscriptionView):
    def alert(self, public_id: str) -> Alert:
        return self.get_own(alerts_of(organization_id=self.organization_id), public_id, "alert")


class AlertList(AlertView):
    @extend_schema(
        operation_id="listAlerts",
        parameters=[OpenApiParameter("merchantId", str), OpenApiParameter("subscriptionId", str), *PAGE],
        responses=page_of(AlertSerializer),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        self.require_merchant(query.get("merchantId"))
        rows = alerts_of(organization_id=self.organization_id)
        if query.get("subscriptionId"):
            rows = rows.filter(subscription=self.subscription(query["subscriptionId"]))
        return Response(list_page(request, rows, render_alert))

    @extend_schema(operation_id="createAlert", request=CreateAlertSerializer, responses={201: AlertSerializer})
    def post(self, request: Request) -> Response:
        data = self.read(CreateAlertSerializer)
        subscription = self.subscription(data["subscriptionId"])
        metric = None
        if data.get("billableMetricId") is not None:
            rows = metrics_of(organization_id=self.organization_id)
            metric = self.get_own(rows, data["billableMetricId"], "billable metric")
        alert = create_alert(
            subscription_id=subscription.pk,
            terms=AlertTerms(
                name=data["name"],
                type=data["type"],
                metric=metric,
                scope=data["scope"],
                direction=data["direction"],
                thresholds=data.get("thresholds"),
                every=data.get("every"),
            ),
            as_of=current_time(subscription),
        )
        return Response(render_alert(self.alert(alert.public_id)), status=201)


class AlertDetail(AlertView):
    @extend_schema(operation_id="getAlert", responses=AlertSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_alert(self.alert(public_id)))

    @extend_schema(operation_id="updateAlert", request=UpdateAlertSerializer, responses=AlertSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        alert = self.alert(public_id)
        changes = self.read(UpdateAlertSerializer)
        update_alert(alert_id=alert.pk, changes=changes, as_of=current_time(alert.subscription))
        return Response(render_alert(self.alert(public_id)))

    @extend_schema(operation_id="deleteAlert", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        alert = self.alert(public_id)
        delete_alert(alert_id=alert.pk, as_of=current_time(alert.subscription))
        return Response(status=204)


class FiringList(AlertView):
    """What an alert fired, also before its values were changed."""

    @extend_schema(operation_id="listAlertFirings", parameters=PAGE, responses=page_of(FiringSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        alert = self.alert(public_id)

        def render(row: AlertFiring) -> dict[str, Any]:
            return {
                "id": row.public_id,
                "object": "alertFiring",
                "alertId": alert.public_id,
                "threshold": format_decimal(row.threshold),
                "value": format_decimal(row.value),
                "periodNumber": row.period_number,
                "firedAt": format_instant(row.fired_at),
            }

        return Response(list_page(request, firings_of(alert=alert), render))
