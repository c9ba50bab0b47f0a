"""Rate feeds over the wire: prices of a unit that change by the clock."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.catalog.api.products import PAGE, CatalogView
from apps.catalog.models import FeedRate, RateFeed
from apps.catalog.selectors.feeds import billed_until, feeds_of_merchant, rates_of
from apps.catalog.services.feeds import create_feed, delete_feed, set_rates, update_feed
from apps.kernel.clock import wall_now
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.fields import DecimalStringField, InstantField, StrictCharField
from apps.kernel.http.pagination import list_page
from apps.kernel.http.shapes import page_of
from apps.kernel.http.views import Request
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant

MOST_RATES = 10_000
RATES_A_PAGE = 1_000
# More could not stand in front of the decimal point of a price.
MOST = Decimal("1e15") - 1


class CreateFeedSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255)
    currency = StrictCharField(min_length=3, max_length=3)
    unit = StrictCharField(max_length=50, allow_blank=True, required=False)
    description = StrictCharField(max_length=10_000, allow_blank=True, required=False)


class UpdateFeedSerializer(serializers.Serializer[Any]):
    name = StrictCharField(max_length=255, required=False)
    currency = StrictCharField(min_length=3, max_length=3, required=False)
    unit = StrictCharField(max_length=50, allow_blank=True, required=False)
    description = StrictCharField(max_length=10_000, allow_blank=True, required=False)


class FeedSerializer(serializers.Serializer[Any]):
    """A rate feed; up to `billedUntil`, which lists leave out, its rates stay as they are."""

    id = serializers.CharField()
    object = serializers.CharField()
    merchantId = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    currency = serializers.CharField()
    unit = serializers.CharField()
    billedUntil = InstantField(required=False, allow_null=True)
    createdAt = InstantField()
    updatedAt = InstantField()


class RateSerializer(serializers.Serializer[Any]):
    """What a unit costs from a moment on, until the next rate."""

    effectiveFrom = InstantField()
    value = serializers.CharField()


class SetRateSerializer(serializers.Serializer[Any]):
    """A rate to be set, or, with null, to be taken away."""

    effectiveFrom = InstantField()
    value = DecimalStringField(low=-MOST, high=MOST, allow_null=True)


class SetRatesSerializer(serializers.Serializer[Any]):
    rates = serializers.ListField(child=SetRateSerializer(), min_length=1, max_length=MOST_RATES)


class RatesSetSerializer(serializers.Serializer[Any]):
    """What became of the rates that were sent."""

    changed = serializers.IntegerField()
    removed = serializers.IntegerField()
    unchanged = serializers.IntegerField()


def render_feed(feed: RateFeed) -> dict[str, Any]:
    """Give a feed in the wire's form."""
    return {
        "id": feed.public_id,
        "object": "rateFeed",
        "merchantId": feed.organization.public_id,
        "name": feed.name,
        "description": feed.description,
        "currency": feed.currency,
        "unit": feed.unit,
        "createdAt": format_instant(feed.created_at),
        "updatedAt": format_instant(feed.updated_at),
    }


def render_one(feed: RateFeed) -> dict[str, Any]:
    """Give a feed with the moment up to which its rates stay."""
    until = billed_until(feed)
    return {**render_feed(feed), "billedUntil": None if until is None else format_instant(until)}


def render_rate(row: FeedRate) -> dict[str, Any]:
    """Give a rate in the wire's form."""
    return {"effectiveFrom": format_instant(row.effective_from), "value": format_decimal(row.value)}


class FeedView(CatalogView):
    def feed(self, public_id: str) -> RateFeed:
        return self.get_own(feeds_of_merchant(organization_id=self.organization_id), public_id, "rate feed")


class FeedList(FeedView):
    @extend_schema(operation_id="listRateFeeds", parameters=PAGE, responses=page_of(FeedSerializer))
    def get(self, request: Request) -> Response:
        return Response(list_page(request, feeds_of_merchant(organization_id=self.organization_id), render_feed))

    @extend_schema(operation_id="createRateFeed", request=CreateFeedSerializer, responses={201: FeedSerializer})
    def post(self, request: Request) -> Response:
        """Make a feed; rates are set on it."""
        made = create_feed(organization_id=self.organization_id, **self.read(CreateFeedSerializer))
        return Response(render_one(self.feed(made.public_id)), status=201)


class FeedDetail(FeedView):
    @extend_schema(operation_id="getRateFeed", responses=FeedSerializer)
    def get(self, request: Request, public_id: str) -> Response:
        return Response(render_one(self.feed(public_id)))

    @extend_schema(operation_id="updateRateFeed", request=UpdateFeedSerializer, responses=FeedSerializer)
    def patch(self, request: Request, public_id: str) -> Response:
        feed = self.feed(public_id)
        update_feed(feed_id=feed.pk, changes=self.read(UpdateFeedSerializer))
        return Response(render_one(self.feed(public_id)))

    @extend_schema(operation_id="deleteRateFeed", responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Withdraw a feed that no price ever went by."""
        delete_feed(feed_id=self.feed(public_id).pk, as_of=wall_now())
        return Response(status=204)


class FeedRates(FeedView):
    TIMES: ClassVar[list[OpenApiParameter]] = [OpenApiParameter("from", str), OpenApiParameter("to", str)]

    @extend_schema(operation_id="listFeedRates", parameters=[*TIMES, *PAGE], responses=page_of(RateSerializer))
    def get(self, request: Request, public_id: str) -> Response:
        """Give the rates that begin in an interval, the oldest first."""
        rows = rates_of(self.feed(public_id), start=self.query_instant("from"), end=self.query_instant("to"))
        return Response(list_page(request, rows, render_rate, default=100, maximum=RATES_A_PAGE))

    @extend_schema(operation_id="setFeedRates", request=SetRatesSerializer, responses=RatesSetSerializer)
    def post(self, request: Request, public_id: str) -> Response:
        """Set up to 10,000 rates by their instants, all or none; sending them again changes nothing."""
        feed = self.feed(public_id)
        rates: dict[datetime, Decimal | None] = {}
        errors: list[FieldError] = []
        for index, row in enumerate(self.read(SetRatesSerializer)["rates"]):
            at, value = row["effectiveFrom"], row["value"]
            if rates.setdefault(at, value) != value:
                message = "Another value for this instant stands before it."
                errors.append(FieldError(f"rates.{index}.effectiveFrom", message, "duplicate"))
        if errors:
            raise InvalidError("The rates contradict each other.", errors=errors)
        done = set_rates(feed_id=feed.pk, rates=rates, as_of=wall_now())
        return Response({"changed": done.changed, "removed": done.removed, "unchanged": done.unchanged})
