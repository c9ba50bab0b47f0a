"""The meter question and the list of events, over HTTP."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import BillableMetric
from apps.metering.services.merge import drain
from apps.organizations.models import Organization
from tests.test_admin import browser
from tests.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]

MONTH = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


def meter(world: World, metric: str, expect: int = 200, **query: Any) -> Any:
    drain()
    return world.api.get(f"/v0/billableMetrics/{metric}/meter?{urlencode(MONTH | query)}", expect=expect)


def accept_all_year(world: World) -> None:
    """Let events of any day of the year count, instead of being parked."""
    Organization.objects.filter(pk=world.merchant.pk).update(event_days_back=366, event_seconds_ahead=31_536_000)


def test_days_begin_at_the_midnight_of_the_zone(world: World) -> None:
    metric = world.metric(world.product())
    for n, at in enumerate(["2026-01-05T18:29:59Z", "2026-01-05T18:30:00Z", "2026-01-06T18:29:00Z"]):
        world.send("cus_1", at, tokens=10**n)
    found = meter(world, metric, windowSize="DAY", timeZone="Asia/Kolkata")["windowedValues"]
    assert found == [
        {"windowStart": "2026-01-04T18:30:00Z", "windowEnd": "2026-01-05T18:30:00Z", "value": 1},
        {"windowStart": "2026-01-05T18:30:00Z", "windowEnd": "2026-01-06T18:30:00Z", "value": 110},
    ]
    assert len(meter(world, metric, windowSize="DAY")["windowedValues"]) == 2
    refused = meter(world, metric, expect=400, timeZone="Mars/Base")
    assert refused["errors"][0]["field"] == "timeZone"


def test_a_question_of_one_customer_takes_two_round_trips(world: World) -> None:
    metric = world.metric(world.product())
    customer = world.customer(externalId="acme")
    world.send(customer, "2026-01-05T10:00:00Z", tokens=7)
    assert meter(world, metric, subject=customer)["totalValue"] == 7
    with CaptureQueriesContext(connection) as asked:
        again = world.api.get(f"/v0/billableMetrics/{metric}/meter?{urlencode(MONTH | {'subject': customer})}")
    assert again["totalValue"] == 7
    assert len(asked) == 2


def test_of_two_mistakes_the_address_is_named_first(world: World) -> None:
    assert meter(world, "bm_nobody", expect=404, to="never")["message"] == "There is no billable metric bm_nobody."
    metric = world.metric(world.product())
    assert meter(world, metric, expect=400, to="never")["errors"][0]["field"] == "to"
    BillableMetric.objects.filter(public_id=metric).update(deleted_at="2026-01-05T10:00:00Z")
    assert meter(world, metric, expect=404)["message"] == f"There is no billable metric {metric}."


def test_a_day_on_which_clocks_change_has_23_or_25_hours(world: World) -> None:
    accept_all_year(world)
    metric = world.metric(world.product(), aggregation="COUNT")
    world.send("cus_1", "2026-03-29T12:00:00Z", tokens=1)
    world.send("cus_1", "2026-10-25T12:00:00Z", tokens=1)
    year = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
    spring, autumn = meter(world, metric, windowSize="DAY", timeZone="Europe/Paris", **year)["windowedValues"]
    assert (spring["windowStart"], spring["windowEnd"]) == ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
    assert (autumn["windowStart"], autumn["windowEnd"]) == ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")


def test_a_customers_two_names_are_one_group(world: World) -> None:
    metric = world.metric(world.product(), aggregation="UNIQUE_COUNT", path="$.user")
    customer = world.customer(externalId="acme")
    world.send(customer, "2026-01-05T10:00:00Z", user="ann")
    for user in ("ann", "bob"):
        body = {"type": "ai.inference", "source": "s", "externalSubject": "acme", "data": {"user": user}}
        world.api.post("/v0/events", body | {"timestamp": "2026-01-05T11:00:00Z"}, expect=202)
    grouped = meter(world, metric, groupBy="subject")["groupedValues"]
    assert grouped == [{"groupBy": {"subject": customer}, "value": 2, "eventCount": 3}]
    assert meter(world, metric, subject=customer)["totalValue"] == 2


def test_groups_are_ranked_by_the_whole_interval_and_windows_follow_the_page(world: World) -> None:
    metric = world.metric(world.product(), aggregation="MAX", groupBy={"model": "$.model"})
    # By sums of daily maxima "often" would lead; its own maximum is the smallest.
    for day in range(1, 6):
        world.send("cus_1", f"2026-01-0{day}T10:00:00Z", tokens=5, model="often")
    world.send("cus_1", "2026-01-02T10:00:00Z", tokens=9, model="high")
    world.send("cus_1", "2026-01-03T10:00:00Z", tokens=7, model="middle")
    pages = [
        meter(world, metric, groupBy="model", windowSize="DAY", groupLimit=1, groupOffset=offset)
        for offset in range(4)
    ]
    assert [{g["groupBy"]["model"] for g in page["groupedValues"]} for page in pages] == [
        {"high"}, {"middle"}, {"often"}, set(),
    ]  # fmt: skip
    assert {page["groupCount"] for page in pages} == {3}
    assert [len(page["windowedValues"]) for page in pages] == [1, 1, 5, 0]
    for page in pages:
        values = [group["value"] for group in page["groupedValues"]]
        assert [window["value"] for window in page["windowedValues"]] == values
    everything = meter(world, metric, groupBy="model")
    assert [g["groupBy"]["model"] for g in everything["groupedValues"]] == ["high", "middle", "often"]
    assert "groupCount" not in everything


def test_a_level_goes_on_where_nothing_happens(world: World) -> None:
    accept_all_year(world)
    metric = world.metric(world.product(), aggregation="WEIGHTED_SUM")
    world.send("cus_1", "2025-12-01T00:00:00Z", tokens=6)
    world.send("cus_1", "2026-01-02T12:00:00Z", tokens=-4)
    days = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"}
    found = meter(world, metric, windowSize="DAY", **days)
    assert [window["value"] for window in found["windowedValues"]] == [6, 4, 2, 2]
    assert found["totalValue"] == 3.5
    # Before its first event there is no level to report.
    before = {"from": "2025-11-29T00:00:00Z", "to": "2025-12-02T00:00:00Z"}
    assert [w["windowStart"] for w in meter(world, metric, windowSize="DAY", **before)["windowedValues"]] == [
        "2025-12-01T00:00:00Z"
    ]


def test_a_changed_event_type_loses_nothing(world: World) -> None:
    product = world.product()
    metric = world.metric(product)
    world.metric(product, path="$.other")
    world.send("cus_1", "2026-01-05T10:15:00Z", tokens=3)
    drain()
    world.api.patch(f"/v0/billableMetrics/{metric}", {"eventType": "ai.changed"})
    cut = {"from": "2026-01-05T10:10:00Z", "to": "2026-01-05T10:20:00Z"}
    assert meter(world, metric, **cut)["totalValue"] == 3
    listed = world.api.get(f"/v0/billableMetrics/{metric}/events?{urlencode(cut)}")
    assert listed["pagination"]["total"] == len(listed["events"]) == 1


def test_the_list_holds_what_the_metric_counts(world: World) -> None:
    product = world.product()
    metric, other = world.metric(product), world.metric(product, path="$.seconds")
    world.send("cus_1", "2026-01-05T10:15:00Z", tokens=3, seconds=1)
    world.send("cus_1", "2026-01-05T10:16:00Z", tokens="many", seconds=1)
    drain()
    for one, events in ((metric, 1), (other, 2)):
        listed = world.api.get(f"/v0/billableMetrics/{one}/events?{urlencode(MONTH)}")
        assert listed["pagination"]["total"] == len(listed["events"]) == events


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"windowSize": "MINUTE", "to": "2026-12-31T00:00:00Z"}, "windowSize"),
        ({"filterGroupBy": '{"model": "\\u0000"}'}, "filterGroupBy"),
        ({"filterGroupBy": "[" * 3000}, "filterGroupBy"),
        ({"timeZone": "Europe/Pariss"}, "timeZone"),
    ],
)
def test_questions_that_cannot_be_answered_are_refused(world: World, query: dict[str, str], field: str) -> None:
    metric = world.metric(world.product(), groupBy={"model": "$.model"})
    assert field in meter(world, metric, expect=400, **query)["message"] or field in {
        problem["field"] for problem in meter(world, metric, expect=400, **query)["errors"]
    }


def test_a_level_is_billed_with_what_came_before_the_period_and_corrected_when_more_comes(world: World) -> None:
    product = world.product()
    metric = world.metric(product, aggregation="WEIGHTED_SUM", path="$.seats")
    plan = world.plan(product, [world.usage_price(metric, "2")])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)
    # Ten seats from before the first period, five more for its second half; a month of 31 days.
    world.send(customer, "2025-12-20T00:00:00Z", seats=10)
    world.send(customer, "2026-01-16T12:00:00Z", seats=5)
    world.advance(clock, "2026-02-02T00:00:00Z")
    first = next(i for i in world.invoices(subscription["id"]) if i["sequenceNumber"] == 1)
    assert world.amounts(first["id"]) == [Decimal("25.00")]
    # Four seats that were reported late belong to both months.
    world.send(customer, "2025-12-25T00:00:00Z", seats=4)
    world.advance(clock, "2026-03-02T00:00:00Z")
    second = next(i for i in world.invoices(subscription["id"]) if i["sequenceNumber"] == 2)
    assert world.amounts(second["id"]) == [Decimal("8.00"), Decimal("38.00")]


def test_a_stored_metric_keeps_its_aggregation_in_the_admin(world: World) -> None:
    metric = BillableMetric.objects.get(public_id=world.metric(world.product()))
    client = browser(world.owner)
    address = f"/admin/catalog/billablemetric/{metric.pk}/change/"
    form = {
        "organization": metric.organization_id, "product": metric.product_id, "name": "Renamed", "unit": "u",
        "event_type": "t", "value_property": "$.v", "group_by": "{}", "aggregation": "WEIGHTED_SUM",
    }  # fmt: skip
    assert client.post(address, form).status_code == 302
    metric.refresh_from_db()
    assert (metric.name, metric.aggregation) == ("Renamed", "SUM")
    # It still needs a value.
    assert b"needs the path of a value" in client.post(address, form | {"value_property": ""}).content
