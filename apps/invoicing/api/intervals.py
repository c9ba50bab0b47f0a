"""The price timeline of a subscription, and the record of its changes, over the wire."""

from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.invoicing.api.subscription_inputs import REASONS, MetadataField
from apps.invoicing.api.subscriptions import SubscriptionView
from apps.invoicing.services.intervals import ChangedInterval, NewInterval, Outcome, edit_intervals
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import ContractView, Request
from apps.kernel.time import format_instant
from apps.subscriptions.domain.editing import Edit
from apps.subscriptions.domain.lines import Shown, copy_of
from apps.subscriptions.domain.timeline import Step
from apps.subscriptions.models import ChangeReason, SubscriptionIntervalChange
from apps.subscriptions.models.timeline import KEY
from apps.subscriptions.selectors.clocks import current_time
from apps.subscriptions.selectors.timeline import changes_of, lines_of, shown_of, timeline_of
from apps.subscriptions.services.quantities import MOST_UNITS
from apps.subscriptions.services.timeline import Occasion

HIGHEST_PRICE = Decimal(10**12)
MODES = ["advance", "arrears"]
PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


def quantity_field(**kwargs: Any) -> DecimalStringField:
    return DecimalStringField(places=9, low=Decimal(0), high=MOST_UNITS, **kwargs)


def price_field(**kwargs: Any) -> DecimalStringField:
    return DecimalStringField(places=15, low=-HIGHEST_PRICE, high=HIGHEST_PRICE, allow_null=True, **kwargs)


class TransitionSerializer(serializers.Serializer[Any]):
    """A later quantity."""

    effectiveDate = InstantField()
    quantity = quantity_field()


class AddIntervalSerializer(serializers.Serializer[Any]):
    priceKey = serializers.RegexField(KEY, max_length=64)
    unitPrice = price_field()
    baseQuantity = quantity_field()
    billingCadence = StrictCharField(max_length=20)
    billingMode = serializers.ChoiceField(choices=MODES)
    startDate = InstantField()
    priceId = StrictCharField(max_length=64, required=False)
    planVersionId = StrictCharField(max_length=64, required=False)
    quantityTransitions = serializers.ListField(child=TransitionSerializer(), required=False, max_length=100)
    billDate = InstantField(required=False, allow_null=True)
    endDate = InstantField(required=False, allow_null=True)


class EditIntervalSerializer(serializers.Serializer[Any]):
    id = StrictCharField(max_length=64)
    unitPrice = price_field(required=False)
    baseQuantity = quantity_field(required=False)
    quantityTransitions = serializers.ListField(child=TransitionSerializer(), required=False, max_length=100)
    priceId = StrictCharField(max_length=64, required=False)
    priceKey = StrictCharField(max_length=64, required=False)
    planVersionId = StrictCharField(max_length=64, required=False)
    billingCadence = StrictCharField(max_length=20, required=False)
    billingMode = serializers.ChoiceField(choices=MODES, required=False)
    billDate = InstantField(required=False, allow_null=True)
    startDate = InstantField(required=False)
    endDate = InstantField(required=False, allow_null=True)


class RemoveIntervalSerializer(serializers.Serializer[Any]):
    id = StrictCharField(max_length=64)


class EditIntervalsSerializer(serializers.Serializer[Any]):
    add = serializers.ListField(child=AddIntervalSerializer(), required=False, max_length=100)
    edit = serializers.ListField(child=EditIntervalSerializer(), required=False, max_length=100)
    remove = serializers.ListField(child=RemoveIntervalSerializer(), required=False, max_length=100)
    changeReason = serializers.ChoiceField(choices=REASONS, required=False)
    description = StrictCharField(max_length=5000, required=False, allow_blank=True)
    metadata = MetadataField(required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if not any(data.get(name) for name in ("add", "edit", "remove")):
            raise serializers.ValidationError({"add": "Give at least one of add, edit and remove."}, code="required")
        named = [change["id"] for name in ("edit", "remove") for change in data.get(name, ())]
        if len(named) != len(set(named)):
            raise serializers.ValidationError({"edit": "Name each interval once."}, code="duplicate")
        return data


class IntervalSerializer(serializers.Serializer[Any]):
    """A stretch of time in which one price of a subscription is billed by the same terms."""

    id = serializers.CharField()
    priceId = serializers.CharField()
    priceKey = serializers.CharField()
    kind = serializers.ChoiceField(choices=["plan_line", "subscription_owned"])
    planVersionId = serializers.CharField()
    unitPrice = serializers.CharField(allow_null=True)
    baseQuantity = serializers.CharField()
    quantityTransitions = TransitionSerializer(many=True)
    billingCadence = serializers.CharField()
    billingMode = serializers.ChoiceField(choices=MODES)
    billDate = InstantField(allow_null=True)
    startDate = InstantField()
    endDate = InstantField(allow_null=True)


class IntervalsSerializer(serializers.Serializer[Any]):
    """All price intervals of a subscription, in order of time."""

    intervals = IntervalSerializer(many=True)


class IntervalChangeSerializer(serializers.Serializer[Any]):
    """What changed of a subscription's price intervals, and why."""

    id = serializers.CharField()
    merchantId = serializers.CharField()
    subscriptionId = serializers.CharField()
    changeReason = serializers.ChoiceField(choices=REASONS)
    description = serializers.CharField(allow_null=True)
    metadata = serializers.DictField()
    createdAt = InstantField()
    intervals = serializers.ListField(child=serializers.DictField())


class IntervalLinesSerializer(serializers.Serializer[Any]):
    """How many prices gained or lost lines of the open invoice."""

    created = serializers.IntegerField()
    removed = serializers.IntegerField()
    syncFailed = serializers.BooleanField()


class IntervalsAnswerSerializer(IntervalsSerializer):
    """The intervals after a change."""

    unchanged = serializers.BooleanField()
    lineItems = IntervalLinesSerializer()
    intervalChange = IntervalChangeSerializer(allow_null=True)


def render_interval(shown: Shown) -> dict[str, Any]:
    """Give a price interval in the wire's form."""
    body = copy_of(shown)
    del body["resolvedUnitPrice"]
    return {"id": shown.public_id, "kind": "subscription_owned" if shown.line.is_owned else "plan_line", **body}


def render_change(row: SubscriptionIntervalChange) -> dict[str, Any]:
    """Give the record of a change in the wire's form."""
    return {
        "id": row.public_id,
        "merchantId": row.organization.public_id,
        "subscriptionId": row.subscription.public_id,
        "changeReason": row.change_reason,
        "description": row.description or None,
        "metadata": row.metadata,
        "createdAt": format_instant(row.created_at),
        "intervals": row.intervals,
    }


def render_outcome(outcome: Outcome) -> dict[str, Any]:
    """Give what an edit did in the wire's form."""
    return {
        "intervals": [render_interval(shown) for shown in outcome.intervals],
        "unchanged": outcome.change is None,
        "lineItems": {"created": outcome.gained, "removed": outcome.lost, "syncFailed": False},
        "intervalChange": None if outcome.change is None else render_change(outcome.change),
    }


class SubscriptionIntervals(SubscriptionView):
    @extend_schema(operation_id="getSubscriptionIntervals", responses=IntervalsSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        timeline = timeline_of(subscription)
        shown = shown_of(subscription, timeline, lines_of(subscription, timeline))
        return Response({"intervals": [render_interval(one) for one in shown]})

    @extend_schema(
        operation_id="editSubscriptionIntervals",
        request=EditIntervalsSerializer,
        responses=IntervalsAnswerSerializer,
    )
    def post(self, request: Request, public_id: str) -> Response:
        """Add, edit or remove price intervals that lie ahead."""
        subscription = self.subscription(public_id)
        data = self.read(EditIntervalsSerializer)
        outcome = edit_intervals(
            subscription_id=subscription.pk,
            add=[_new(sent) for sent in data.get("add", ())],
            edit=[_changed(sent) for sent in data.get("edit", ())],
            remove=[sent["id"] for sent in data.get("remove", ())],
            occasion=Occasion(
                by=self.principal.user_public_id,
                reason=data.get("changeReason", ChangeReason.UNSPECIFIED),
                description=data.get("description", ""),
                metadata=data.get("metadata", {}),
            ),
            as_of=current_time(subscription),
        )
        return Response(render_outcome(outcome))


class SubscriptionIntervalChanges(SubscriptionView):
    @extend_schema(
        operation_id="listSubscriptionIntervalChanges",
        parameters=PAGE,
        responses=page_of(IntervalChangeSerializer),
    )
    def get(self, request: Request, public_id: str) -> Response:
        subscription = self.subscription(public_id)
        rows = changes_of(organization_id=self.organization_id).filter(subscription=subscription)
        return Response(list_page(request, rows, render_change))


class IntervalChangeList(ContractView):
    scopes = {"GET": "subscriptions:read"}

    @extend_schema(
        operation_id="listIntervalChanges",
        parameters=[
            OpenApiParameter("from", str),
            OpenApiParameter("to", str),
            OpenApiParameter("changeReason", str, enum=REASONS),
            *PAGE,
        ],
        responses=page_of(IntervalChangeSerializer),
    )
    def get(self, request: Request) -> Response:
        rows: QuerySet[SubscriptionIntervalChange] = changes_of(organization_id=self.organization_id)
        start, end = self.query_instant("from"), self.query_instant("to")
        reason = request.query_params.get("changeReason")
        if reason and reason not in REASONS:
            raise InvalidError(
                "There is no such reason.",
                errors=[FieldError("changeReason", f"Give one of: {', '.join(REASONS)}.", "invalid")],
            )
        if start is not None:
            rows = rows.filter(created_at__gte=start)
        if end is not None:
            rows = rows.filter(created_at__lt=end)
        if reason:
            rows = rows.filter(change_reason=reason)
        return Response(list_page(request, rows, render_change))


def _steps(sent: list[dict[str, Any]]) -> tuple[Step, ...]:
    return tuple(Step(step["effectiveDate"], step["quantity"]) for step in sent)


def _new(sent: dict[str, Any]) -> NewInterval:
    return NewInterval(
        price_key=sent["priceKey"],
        unit_price=sent["unitPrice"],
        quantity=sent["baseQuantity"],
        billing_cadence=sent["billingCadence"],
        billing_mode=sent["billingMode"],
        start=sent["startDate"],
        end=sent.get("endDate"),
        price_id=sent.get("priceId"),
        version_id=sent.get("planVersionId"),
        transitions=_steps(sent.get("quantityTransitions", [])),
        bills_at=sent.get("billDate"),
    )


def _changed(sent: dict[str, Any]) -> ChangedInterval:
    edit = {}
    if "unitPrice" in sent:
        edit["unit_price"] = sent["unitPrice"]
    if "baseQuantity" in sent:
        edit["quantity"] = sent["baseQuantity"]
    if "quantityTransitions" in sent:
        edit["transitions"] = _steps(sent["quantityTransitions"])
    if "endDate" in sent:
        edit["end"] = sent["endDate"]
    same = {
        name: format_instant(value) if name in ("billDate", "startDate") and value is not None else value
        for name, value in sent.items()
        if name not in ("id", "unitPrice", "baseQuantity", "quantityTransitions", "endDate")
    }
    return ChangedInterval(sent["id"], Edit(**edit), same)
