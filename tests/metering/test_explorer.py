"""The usage explorer of the admin: figures that add up, events with their reason, rights, few queries."""

import csv
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.catalog.models import Aggregation, BillableMetric
from apps.customers.models import Customer
from apps.metering.admin.charts import FLOOR, TOP, Series, figure, heat_map, time_chart
from apps.metering.services.merge import drain
from apps.organizations.models import User
from tests.test_admin import browser, member
from tests.world import World, make_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]

URL = "/admin/metering/usagewindow/explore/"
RANGE = {"first": "2026-01-01", "last": "2026-01-07"}


@pytest.fixture
def used(world: World) -> tuple[World, str, str]:
    """A merchant with usage of two models on three days, one conflict and one event of no use."""
    product = world.product()
    metric = world.metric(product, groupBy={"model": "$.model"})
    world.metric(product, path="$.seconds")  # so that an event may be of use to one of two
    customer = world.customer(externalId="acme")
    for n, (day, model, tokens) in enumerate([(2, "a", 10), (2, "b", 20), (3, "a", 5), (5, "", 7)]):
        world.send(customer, f"2026-01-0{day}T10:30:00Z", key=f"k{n}", tokens=tokens, model=model, seconds=1)
    world.send("cus_other", "2026-01-05T12:00:00Z", key="o", tokens=100, model="a", seconds=1)
    world.send(customer, "2026-01-02T10:30:00Z", key="k0", tokens=11, model="a", seconds=1)
    world.send(customer, "2026-01-02T10:30:00Z", key="bad", tokens="many", model="a", seconds=1)
    drain()
    return world, metric, customer


def page(client: Client, **query: str) -> Any:
    answer = client.get(URL, query)
    assert answer.status_code == 200
    return answer


def test_figures_are_those_of_the_meter(used: tuple[World, str, str]) -> None:
    world, metric, customer = used
    context = page(browser(world.owner), metric=metric, customer=customer, by="model", **RANGE).context
    assert context["total"] == "42"
    assert context["columns"] == ["b", "a", "(empty)"]
    assert len(context["figures"]) == 7
    assert [(row["at"], row["total"], row["parts"]) for row in context["figures"] if row["total"] != "—"] == [
        ("02 Jan", "30", ["20", "10", "—"]),
        ("03 Jan", "5", ["—", "5", "—"]),
        ("05 Jan", "7", ["—", "—", "7"]),
    ]
    everybody = page(browser(world.owner), metric=metric, by="subject", **RANGE).context
    assert everybody["total"] == "142"
    name = Customer.objects.get(public_id=customer).consumer.name
    assert everybody["columns"] == ["cus_other", name]


def test_a_customer_is_found_by_its_names_and_a_time_zone_moves_its_days(used: tuple[World, str, str]) -> None:
    world, metric, _ = used
    client = browser(world.owner)
    assert page(client, metric=metric, customer="acme", **RANGE).context["total"] == "42"
    tokyo = page(client, metric=metric, customer="acme", tz="Pacific/Kiritimati", **RANGE).context
    assert [row["at"] for row in tokyo["figures"] if row["total"] != "—"] == ["03 Jan", "04 Jan", "06 Jan"]
    unknown = page(client, metric=metric, customer="nobody", tz="Mars/Base", **RANGE).context
    assert unknown["is_empty"]
    assert len(unknown["asked"].notes) == 2


def test_events_are_shown_with_what_became_of_them(used: tuple[World, str, str]) -> None:
    world, metric, customer = used
    client = browser(world.owner)
    counted = page(client, metric=metric, customer=customer, view="counted", **RANGE).context["events"]
    assert [row["quantity"] for row in counted][:2] == ["7", "5"]
    assert {row["quantity"] for row in counted[2:]} == {"10", "20"}  # at the same moment
    assert {row["event"].subject for row in counted} == {customer}
    # Conflicts and refusals are listed by when they were found: by the merge, now, and when it was accepted.
    conflicts = page(client, metric=metric, view="conflict").context["events"]
    assert [row["event"].key for row in conflicts] == ["k0"]
    assert "says something else" in conflicts[0]["event"].why
    refused = page(client, metric=metric, view="refused", first="2026-01-01", last="2026-02-28").context["events"]
    assert len(refused) == 1
    assert "not a number" in refused[0]["event"].why


def test_the_heat_map_shows_the_hours_of_the_zone(used: tuple[World, str, str]) -> None:
    world, metric, _ = used
    heat = page(browser(world.owner), metric=metric, view="hours", tz="Europe/Paris", **RANGE).context["heat"]
    assert [row["label"] for row in heat["rows"]] == ["Fri 02 Jan", "Sat 03 Jan", "Mon 05 Jan"]
    assert [cell["title"] for cell in heat["rows"][0]["cells"]] == ["Fri 02 Jan 11:00: 30 tokens"]
    assert heat["top"] == "100"


def test_only_those_who_may_export_get_the_table(used: tuple[World, str, str]) -> None:
    world, metric, _ = used
    query = {"metric": metric, "by": "model", "format": "csv", **RANGE}
    assert browser(member(world, "viewer")).get(URL, query).status_code == 403
    assert b"Export CSV" not in browser(member(world, "support")).get(URL, {**query, "format": ""}).content
    answer = browser(member(world, "finance")).get(URL, query)
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert sum(Decimal(row["quantity"]) for row in rows) == 142
    assert {row["model"] for row in rows} == {"a", "b", ""}
    assert rows[0]["windowStart"] == "2026-01-02T00:00:00Z"


def test_no_cell_is_a_formula(used: tuple[World, str, str]) -> None:
    world, metric, customer = used
    world.send(customer, "2026-01-06T10:00:00Z", tokens=1, model='=HYPERLINK("x")')
    drain()
    answer = browser(world.owner).get(URL, {"metric": metric, "by": "model", "format": "csv", **RANGE})
    assert "'=HYPERLINK" in answer.content.decode()


def test_another_merchants_usage_stays_hidden(used: tuple[World, str, str]) -> None:
    _, metric, customer = used
    other = make_world()
    empty = page(browser(other.owner), metric=metric, customer=customer, **RANGE)
    assert b"There is no metric yet" in empty.content
    own = other.metric(other.product())
    found = page(browser(other.owner), metric=metric, customer=customer, **RANGE).context
    assert found["asked"].metric.public_id == own
    assert found["asked"].customer is None
    assert found["is_empty"]


def test_nobody_else_sees_it(used: tuple[World, str, str]) -> None:
    stranger = User.objects.create_user("nobody@merchant.test", "correct horse battery", is_staff=True)
    assert browser(stranger).get(URL).status_code == 403
    assert Client().get(URL).status_code == 302


@pytest.mark.parametrize("aggregation", Aggregation.values)
@pytest.mark.parametrize("view", ["", "hours", "counted", "conflict", "refused"])
def test_it_asks_few_questions(
    world: World,
    aggregation: str,
    view: str,
    django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]],
) -> None:
    metric = world.metric(world.product(), aggregation=aggregation, groupBy={"model": "$.model"})
    customer = world.customer()
    for n in range(12):
        world.send(customer, f"2026-01-0{1 + n % 7}T10:00:00Z", tokens=n, model=f"m{n}")
    drain()
    client = browser(world.owner)
    query = {"metric": metric, "customer": customer, "by": "model", "view": view, "tz": "Asia/Kolkata", **RANGE}
    client.get(URL, query)
    with django_assert_max_num_queries(14):
        assert client.get(URL, query).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"first": "yesterday", "last": "2026-13-01", "size": "CENTURY", "by": "colour", "chart": "pie"},
        {"first": "0001-01-01", "last": "9999-12-31", "size": "HOUR"},
        {"first": "2026-01-31", "last": "2026-01-01", "view": "nonsense"},
        {"metric": "bm_nothing", "customer": "%_'\"<script>"},
    ],
)
def test_nonsense_is_replaced_and_noted(used: tuple[World, str, str], query: dict[str, str]) -> None:
    world, _, _ = used
    answer = page(browser(world.owner), **query)
    assert b'<script>"' not in answer.content
    assert answer.context["asked"].first <= answer.context["asked"].last


def test_metric_and_customer_pages_lead_there(used: tuple[World, str, str]) -> None:
    world, metric, customer = used
    client = browser(world.owner)
    for row in (BillableMetric.objects.get(public_id=metric), Customer.objects.get(public_id=customer)):
        base = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        content = client.get(reverse(base, args=[row.pk])).content.decode()
        assert f"{URL}?" in content
    assert URL in client.get("/admin/").content.decode()


def test_what_is_below_nothing_is_drawn_below_the_line() -> None:
    layers = [Series("a", [Decimal(3), Decimal(-2)]), Series("b", [Decimal(1), None])]
    chart = time_chart(["x", "y"], layers, unit="u", is_stacked=True)
    zero = chart["zero"]
    assert TOP <= zero <= FLOOR
    first, second, below = chart["bars"]
    assert first["y"] + first["height"] == zero
    assert second["y"] + second["height"] == first["y"]
    assert below["y"] == zero
    assert below["title"] == "y · a: −2 u"
    lines = time_chart(["x", "y"], layers, unit="u", is_stacked=False)["lines"]
    assert [len(line["points"]) for line in lines] == [2, 1]
    assert figure(Decimal("-1234.50")) == "−1,234.5"


def test_an_hour_that_clocks_repeat_has_two_cells() -> None:
    heat = heat_map({date(2026, 10, 25): {2: [("02:00", Decimal(1)), ("02:00", Decimal(4))]}}, unit="u")
    cells = heat["rows"][0]["cells"]
    assert len(cells) == 2
    assert cells[0]["x"] + cells[0]["width"] == cells[1]["x"]
    assert [cell["shade"] for cell in cells] == [2, 5]
