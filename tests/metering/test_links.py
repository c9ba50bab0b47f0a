"""Whose usage an own id's events are, when the id moves from one customer to another."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.test import Client
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from apps.catalog.models import BillableMetric, Product
from apps.customers.models import Customer, ExternalIdLink
from apps.customers.services.customers import create_customer, delete_customer, update_customer
from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.metering.aggregations import REGISTRY, CountedEvent
from apps.metering.selectors.links import subjects_of
from apps.metering.selectors.meter import MeterQuestion, meter_rows
from apps.metering.selectors.registry import forget_metrics
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.merge import drain
from apps.metering.services.staging import accept_events
from apps.organizations.services.organizations import find_or_create_consumer
from tests.concurrency import at_once
from tests.metering.oracle import Known, answers, quantity
from tests.world import World, make_world

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
SPAN = 4 * 3600
ID = "acme"


def make_customer(world: World, name: str, *, external_id: str | None = None, as_of: datetime = START) -> Customer:
    consumer = find_or_create_consumer(merchant=world.merchant, name=name, email=f"{name}@customer.test")
    return create_customer(merchant=world.merchant, consumer=consumer, external_id=external_id, as_of=as_of)[0]


def give(customer: Customer, external_id: str | None, seconds: int) -> None:
    moment = START + timedelta(seconds=seconds)
    update_customer(customer_id=customer.pk, changes={"external_id": external_id}, as_of=moment)


def send(world: World, rows: Sequence[tuple[int, str]]) -> None:
    """Send events of tokens 1, 2, 4, … so that every sum tells which ones are in it."""
    raw: list[Any] = [
        {
            "type": "ai.inference",
            "source": "s",
            **({"externalSubject": name} if name == ID else {"subject": name}),
            "timestamp": format_instant(START + timedelta(seconds=second)),
            "idempotencyKey": f"k{n}",
            "data": {"tokens": 2**n},
        }
        for n, (second, name) in enumerate(rows)
    ]
    verdicts = accept_events(
        raw,
        organization_id=world.merchant.pk,
        organization_public_id=world.id,
        as_of=START + timedelta(seconds=SPAN),
    )
    assert not verdicts.rejected
    drain()


def ask(world: World, metric: str, path: str) -> Any:
    end = format_instant(START + timedelta(seconds=SPAN))
    return world.api.get(f"/v0/billableMetrics/{metric}/{path}from={format_instant(START)}&to={end}")


@pytest.mark.django_db
def test_usage_stays_with_the_customer_that_had_the_id_then(world: World) -> None:
    metric = world.metric(world.product())
    first, second = make_customer(world, "first", external_id=ID), make_customer(world, "second")
    # Moved half past the hour, given up later, taken again by the first: seconds of the events tell whose they are.
    give(first, None, 5400)
    give(second, ID, 5400)
    give(second, None, 9000)
    give(first, ID, 10000)
    send(world, [(60, ID), (5399, ID), (5400, ID), (8999, ID), (9000, ID), (12000, ID), (5401, first.public_id)])
    totals = {
        customer: ask(world, metric, f"meter?subject={customer.public_id}&")["totalValue"]
        for customer in (first, second)
    }
    # The moment between two owners goes to the next one.
    assert totals == {first: 1 + 2 + 16 + 32 + 64, second: 4 + 8}
    grouped = ask(world, metric, "meter?groupBy=subject&")
    assert {row["groupBy"]["subject"]: row["value"] for row in grouped["groupedValues"]} == {
        first.public_id: totals[first],
        second.public_id: totals[second],
    }
    assert grouped["totalValue"] == sum(totals.values())
    listed = ask(world, metric, "events?")["events"]
    assert {event["data"]["tokens"]: event["subject"] for event in listed} == {
        1: first.public_id, 2: first.public_id, 4: second.public_id, 8: second.public_id, 16: first.public_id,
        32: first.public_id, 64: first.public_id,
    }  # fmt: skip
    own = ask(world, metric, f"events?subject={second.public_id}&")["events"]
    assert [event["data"]["tokens"] for event in own] == [8, 4]


@pytest.mark.django_db
def test_an_id_nobody_has_any_more_stands_for_itself(world: World) -> None:
    metric = world.metric(world.product())
    customer = make_customer(world, "first", external_id=ID)
    send(world, [(0, ID), (7200, ID)])
    delete_customer(customer_id=customer.pk, as_of=START + timedelta(seconds=3600))
    grouped = ask(world, metric, "meter?groupBy=subject&")["groupedValues"]
    assert {row["groupBy"]["subject"]: row["value"] for row in grouped} == {customer.public_id: 1, ID: 2}
    # The next customer with the id takes over where the last one left off.
    following = make_customer(world, "next", external_id=ID, as_of=START + timedelta(seconds=9000))
    assert ask(world, metric, f"meter?subject={following.public_id}&")["totalValue"] == 2


@pytest.mark.django_db
def test_the_first_link_reaches_back_to_the_beginning(world: World) -> None:
    customer = make_customer(world, "first", external_id=ID)
    link = ExternalIdLink.objects.get()
    assert (link.customer, link.valid.lower, link.valid.upper) == (customer, None, None)
    give(customer, ID, 100)  # no change
    assert ExternalIdLink.objects.count() == 1
    give(customer, "other", 200)
    assert list(customer.external_id_links.order_by("pk").values_list("external_id", flat=True)) == [ID, "other"]


@pytest.mark.django_db
def test_billed_usage_stays_billed_when_the_id_moves(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), "0.01")])
    first, second = world.customer(externalId=ID), world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    subscriptions = [
        world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)["id"] for customer in (first, second)
    ]

    def use(at: str, tokens: int) -> None:
        body = {
            "type": "ai.inference", "source": "s", "externalSubject": ID, "timestamp": at, "data": {"tokens": tokens},
        }  # fmt: skip
        world.api.post("/v0/events", body, expect=202)

    use("2026-01-10T00:00:00Z", 1000)
    world.advance(clock, "2026-02-10T12:30:00Z")
    use("2026-02-10T12:00:00Z", 200)
    # Customers on a test clock move in its time: the id changes hands at half past twelve on 10 February.
    world.api.patch(f"/v0/customers/{first}", {"externalId": None})
    world.api.patch(f"/v0/customers/{second}", {"externalId": ID})
    use("2026-02-10T12:40:00Z", 3000)
    use("2026-01-20T00:00:00Z", 400)  # late: of the time when the first had the id, and billed already
    world.advance(clock, "2026-03-02T00:00:00Z")
    totals = [[i["grandTotal"] for i in world.invoices(subscription)[-3:-1]] for subscription in subscriptions]
    assert totals == [["10.00", "6.00"], ["0.00", "30.00"]]


@pytest.mark.django_db
def test_the_database_refuses_two_owners_at_a_time(world: World) -> None:
    make_customer(world, "first", external_id=ID)
    other = make_customer(world, "second")
    with pytest.raises(IntegrityError), transaction.atomic():
        ExternalIdLink.objects.create(
            organization=world.merchant, customer=other, external_id=ID, valid=DateTimeTZRange(START, None)
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        ExternalIdLink.objects.create(
            organization=world.merchant, customer=other, external_id="x", valid=DateTimeTZRange(START, START)
        )


@pytest.mark.django_db
def test_editing_in_the_admin_keeps_the_links(world: World) -> None:
    first, second = make_customer(world, "first", external_id=ID), make_customer(world, "second")
    client = Client()
    client.force_login(world.owner)

    def save(customer: Customer, external_id: str) -> Any:
        form = {
            "external_id": external_id, "tax_id": "", "tax_rates": "{}", "timezone": "",
            "external_id_links-TOTAL_FORMS": "0", "external_id_links-INITIAL_FORMS": "0",
        }  # fmt: skip
        return client.post(reverse("admin:customers_customer_change", args=[customer.pk]), form)

    refused = save(second, ID)
    assert b"Another customer has this id" in refused.content
    assert save(first, "").status_code == 302
    assert save(second, ID).status_code == 302
    links = ExternalIdLink.objects.order_by("pk")
    assert [link.customer for link in links] == [first, second]
    assert links[0].valid.upper == links[1].valid.lower
    assert b"the beginning" in client.get(reverse("admin:customers_customer_change", args=[first.pk])).content


@pytest.mark.django_db(transaction=True)
def test_many_customers_want_one_id_at_once_and_one_gets_it() -> None:
    world = make_world()
    holder = make_customer(world, "holder", external_id=ID)
    wanting = [make_customer(world, f"c{n}") for n in range(4)]

    def take(customer: Customer) -> bool:
        try:
            give(customer, ID, 0)
        except ConflictError:
            return False
        return True

    at_once([lambda: give(holder, None, 0), *(lambda c=customer: take(c) for customer in wanting)])
    taken = Customer.objects.filter(external_id=ID).count()
    assert taken <= 1
    links = list(ExternalIdLink.objects.filter(external_id=ID).order_by("pk"))
    assert len(links) == 1 + taken
    assert links[0].valid == DateTimeTZRange(None, START)


class LinkOracle(TestCase):
    """An id that moves at random moments; every aggregation of every customer, against a walk over the events."""

    @settings(max_examples=25)
    @given(
        moves=st.lists(st.tuples(st.integers(1, SPAN), st.sampled_from([0, 1, 2, None])), max_size=5),
        events=st.lists(
            st.tuples(st.integers(0, SPAN - 1), st.integers(-50, 50), st.sampled_from([ID, ID, "0", "1"])),
            max_size=25,
        ),
        a=st.integers(0, SPAN),
        b=st.integers(0, SPAN),
    )
    def test_every_aggregation_splits_by_owner(
        self, moves: list[tuple[int, int | None]], events: list[tuple[int, int, str]], a: int, b: int
    ) -> None:
        forget_metrics()
        world = make_world()
        product = Product.objects.create(organization=world.merchant, name="p")
        for code in REGISTRY:
            BillableMetric.objects.create(
                organization=world.merchant, product=product, name=code, unit="u", aggregation=code, event_type="t",
                value_property="" if code == "COUNT" else "$.v",
            )  # fmt: skip
        customers = [make_customer(world, f"c{n}") for n in range(3)]
        give(customers[0], ID, 0)
        # (until when, whose): the oracle's own list of owners.
        history: list[tuple[int, int]] = []
        holder: int | None = 0
        for second, target in sorted(moves, key=lambda move: move[0]):
            if target == holder:
                continue
            if holder is not None:
                give(customers[holder], None, second)
                history.append((second, holder))
            if target is not None:
                give(customers[target], ID, second)
            holder = target

        def owner(second: int) -> int | None:
            return next((whose for until, whose in history if second < until), holder)

        raw: list[Any] = []
        for n, (second, value, name) in enumerate(events):
            subject = {"externalSubject": ID} if name == ID else {"subject": customers[int(name)].public_id}
            at = format_instant(START + timedelta(seconds=second))
            raw.append({"type": "t", "source": "s", "timestamp": at, "idempotencyKey": f"k{n}",
                        "data": {"v": value}, **subject})  # fmt: skip
        verdicts = accept_events(
            raw, organization_id=world.merchant.pk, organization_public_id=world.id,
            as_of=START + timedelta(seconds=SPAN),
        )  # fmt: skip
        drain()
        counted: list[Known] = []
        for (_, draft), (second, value, name) in zip(verdicts.accepted, events, strict=True):
            whose = owner(second) if name == ID else int(name)
            subject = ID if whose is None else customers[whose].public_id
            event = CountedEvent(draft.occurred_at, Decimal(value), str(value), draft.public_id)
            counted.append(Known(subject, {}, event))
        start, end = START + timedelta(seconds=min(a, b)), START + timedelta(seconds=max(a, b) + 1)
        spans = subjects_of(customer_ids=[customer.pk for customer in customers])
        for metric in BillableMetric.objects.filter(organization=world.merchant):
            code = metric.aggregation
            for customer in customers:
                mine = spans.get(customer.pk, [])
                answer = period_usage(requests=[UsageRequest(world.merchant.pk, metric.pk, mine, start, end)])[0]
                own = [known for known in counted if known.subject == customer.public_id]
                assert answer == quantity(code, own, start, end), (code, customer)
                rows = meter_rows(MeterQuestion(metric, start, end, mine, owner=customer.public_id))
                assert (rows[0].quantity if rows else quantity(code, [], start, end)) == answer
            for size in (None, "HOUR"):
                found = meter_rows(MeterQuestion(metric, start, end, None, size, ("subject",)))
                wanted = answers(
                    code, counted, start, end, size=size, tz="UTC", group_of=lambda known: (known.subject,)
                )
                assert {(max(row.window_start, start), row.group): row.quantity for row in found} == {
                    key: known.quantity for key, known in wanted.items()
                }, (code, size)
