"""Odd timing is never refused: it waits, and counts once when someone says so."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from apps.kernel.time import format_instant
from apps.metering.models import EventConflict, MeterEvent, ParkedEvent, Retention
from apps.metering.selectors.parking import parked_events
from apps.metering.selectors.timing import forget_timing
from apps.metering.services.merge import drain
from apps.metering.services.releasing import discard_parked, release_due, release_parked
from apps.metering.services.staging import accept_events
from apps.metering.tasks import release_early_events
from apps.organizations.models import Membership, User
from tests.concurrency import at_once
from tests.world import Api, World, make_world

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 31, 18, tzinfo=UTC)
YEAR = "from=2025-01-01T00:00:00Z&to=2027-01-01T00:00:00Z"


def event(key: str, moment: datetime, tokens: int = 10, **changes: Any) -> dict[str, Any]:
    body = {
        "type": "ai.inference", "source": "app", "subject": "cus_1", "timestamp": format_instant(moment),
        "data": {"tokens": tokens}, "idempotencyKey": key,
    }  # fmt: skip
    return {name: value for name, value in (body | changes).items() if value is not None}


def one(world: World, *arguments: Any, **changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = world.api.post("/v0/events", event(*arguments, **changes), expect=202)
    return answer


def batch(world: World, events: list[dict[str, Any]]) -> dict[str, Any]:
    answer: dict[str, Any] = world.api.post("/v0/events/batch", events, expect=202)
    return answer


def total(world: World, metric: str) -> Any:
    drain()
    return world.api.get(f"/v0/billableMetrics/{metric}/meter?{YEAR}")["totalValue"]


def waiting(world: World) -> list[str]:
    found = world.api.get("/v0/events/parked?state=parked&limit=100")["data"]
    return sorted(row["idempotencyKey"] for row in found)


def release(world: World, expect: int = 200, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = world.api.post(
        "/v0/events/parked/release", {"reason": "Checked.", **body}, expect=expect
    )
    return answer


@pytest.fixture
def metric(world: World, january: datetime) -> str:
    assert january == NOW
    return world.metric(world.product())


def test_the_window_is_half_open(world: World, metric: str) -> None:
    back, ahead = timedelta(days=35), timedelta(minutes=5)
    tick = timedelta(microseconds=1)
    assert "parked" not in one(world, "first", NOW - back)
    assert "parked" not in one(world, "last", NOW + ahead - tick)
    late = one(world, "late", NOW - back - tick)
    assert (late["parked"], late["parkedReason"]) == (True, "too_late")
    early = one(world, "early", NOW + ahead)
    assert (early["parked"], early["parkedReason"]) == (True, "too_early")
    assert total(world, metric) == 20
    assert waiting(world) == ["early", "late"]


def test_a_batch_counts_parked_events_as_accepted(world: World, metric: str) -> None:
    old = NOW - timedelta(days=50)
    answer = batch(
        world,
        [
            event("a", NOW), event("b", old), event("b", old), event("b", NOW + timedelta(days=2), 11),
            event("c", old, type="nope"), event("b", NOW),
        ],
    )  # fmt: skip
    assert (answer["accepted"], answer["parked"], answer["repeated"], len(answer["rejected"])) == (4, 2, 1, 1)
    # The one of good timing counts at once; that others of its key wait does not hold it up.
    assert total(world, metric) == 20
    assert release(world, filter={"type": "ai.inference"})["released"] == 2
    assert total(world, metric) == 20
    assert [conflict.content["data"] for conflict in EventConflict.objects.all()] == [{"tokens": 11}]


def test_a_batch_of_odd_events_alone_is_taken(world: World, metric: str) -> None:
    answer = batch(world, [event(f"k{n}", NOW - timedelta(days=40 + n)) for n in range(3)])
    assert (answer["accepted"], answer["parked"]) == (3, 3)
    assert total(world, metric) == 0
    assert MeterEvent.objects.count() == 0


def test_released_events_count_once_however_often(world: World, metric: str) -> None:
    made = one(world, "k", NOW - timedelta(days=50), 7, externalId="x-1")
    assert release(world, ids=[made["id"]])["released"] == 1
    assert release(world, ids=[made["id"]])["released"] == 0
    assert total(world, metric) == 7
    row = MeterEvent.objects.get()
    assert (row.public_id, row.external_id, row.data) == (made["id"], "x-1", {"tokens": 7})
    # Sent again: known, whether it waits, is released, or has another timestamp.
    one(world, "k", NOW - timedelta(days=50), 7, externalId="x-1")
    one(world, "k", NOW, 7, externalId="x-1")
    assert waiting(world) == []
    assert total(world, metric) == 7
    listed = world.api.get("/v0/events/parked?state=released")["data"]
    assert [(row["settledBy"], row["note"]) for row in listed] == [(world.owner.public_id, "Checked.")]


def test_the_verdict_follows_an_event_from_parking_to_a_void(world: World, metric: str) -> None:
    def verdict(key: str) -> tuple[str, str, str]:
        (found,) = world.api.get(f"/v0/events/status?idempotencyKey={key}")["data"]
        return found["status"], found["eventId"], found["reason"]

    made = one(world, "k", NOW - timedelta(days=50), 7)["id"]
    other = one(world, "other", NOW + timedelta(days=1))["id"]
    assert verdict("k") == ("parked", made, "too_late")
    release(world, ids=[made])
    assert verdict("k") == ("staged", made, "")
    assert total(world, metric) == 7
    assert verdict("k") == ("counted", made, "")
    answer = world.api.post("/v0/events/void", {"reason": "Wrong.", "eventIds": [made]}, expect=200)
    assert (answer["voided"], answer["unknown"]) == (1, 0)
    assert verdict("k") == ("voided", made, "Wrong.")
    assert total(world, metric) == 0
    world.api.post("/v0/events/parked/discard", {"ids": [other], "reason": "A broken clock."}, expect=200)
    assert verdict("other") == ("discarded", other, "A broken clock.")


def test_a_key_that_is_counted_is_not_counted_again_by_release(world: World, metric: str) -> None:
    one(world, "k", NOW)
    drain()
    one(world, "k", NOW - timedelta(days=50))
    assert release(world, filter={"reason": "too_late"})["released"] == 1
    assert total(world, metric) == 10
    assert EventConflict.objects.count() == 0


def test_discarded_events_stay_listed_and_never_count(world: World, metric: str) -> None:
    made = one(world, "k", NOW - timedelta(days=50))
    body = {"ids": [made["id"]], "reason": "A broken clock."}
    assert world.api.post("/v0/events/parked/discard", body, expect=200)["discarded"] == 1
    assert release(world, ids=[made["id"]])["released"] == 0
    one(world, "k", NOW - timedelta(days=50))  # a repeat changes nothing
    assert waiting(world) == []
    (row,) = world.api.get("/v0/events/parked?state=discarded")["data"]
    assert (row["id"], row["note"]) == (made["id"], "A broken clock.")
    assert total(world, metric) == 0


def test_filters_paging_and_refusals(world: World, metric: str) -> None:
    for n in range(12):
        one(world, f"k{n:02d}", NOW - timedelta(days=40 + n), subject="cus_1" if n % 2 else None,
            externalSubject=None if n % 2 else "acme")  # fmt: skip
    page = world.api.get("/v0/events/parked?limit=5&offset=5")
    assert page["pagination"] == {"limit": 5, "offset": 5, "total": 12}
    assert [row["idempotencyKey"] for row in page["data"]] == ["k06", "k05", "k04", "k03", "k02"]
    assert page["data"][0]["externalSubject"] == "acme"
    day = format_instant(NOW - timedelta(days=45))
    assert world.api.get(f"/v0/events/parked?from={day}")["pagination"]["total"] == 6
    assert world.api.get("/v0/events/parked?externalSubject=acme")["pagination"]["total"] == 6
    assert world.api.get("/v0/events/parked?subject=acme")["pagination"]["total"] == 0
    world.api.call("get", "/v0/events/parked?state=lost", expect=400)
    assert {e["field"] for e in release(world, 400)["errors"]} == {"ids"}
    assert {e["field"] for e in release(world, 400, filter={})["errors"]} == {"filter"}
    release(world, 400, ids=["evt_none", "evt_nil"])
    assert release(world, 404, ids=["evt_none"])["code"] == "NOT_FOUND"
    assert release(world, filter={"externalSubject": "acme", "from": day})["released"] == 3
    assert total(world, metric) == 30


def test_another_merchant_sees_and_decides_nothing(world: World, metric: str) -> None:
    made = one(world, "k", NOW - timedelta(days=50))
    other = make_world().api
    assert other.get("/v0/events/parked")["data"] == []
    for word in ("release", "discard"):
        other.post(f"/v0/events/parked/{word}", {"ids": [made["id"]], "reason": "x"}, expect=404)
        answer = other.post(
            f"/v0/events/parked/{word}", {"filter": {"reason": "too_late"}, "reason": "x"}, expect=200
        )
        assert (answer.get("released"), answer.get("discarded")) in {(0, None), (None, 0)}
    assert waiting(world) == ["k"]


def test_deciding_needs_a_scope_of_its_own(world: World, metric: str) -> None:
    from apps.organizations.services.keys import create_api_key

    _, secret = create_api_key(organization=world.merchant, user=world.owner, name="s", scopes=["events:create"])
    answer = Api(secret).call("post", "/v0/events/parked/release", {"ids": ["evt_1"], "reason": "x"})
    assert answer.status_code == 403
    assert json.loads(answer.content)["requiredPermissions"] == ["events:correct"]


def test_the_merchant_sets_the_window(world: World, metric: str) -> None:
    type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=60, event_seconds_ahead=0)
    forget_timing()
    assert "parked" not in one(world, "a", NOW - timedelta(days=50))
    assert one(world, "b", NOW)["parkedReason"] == "too_early"
    with pytest.raises(IntegrityError):
        type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=10**9)


def test_imports_and_customers_on_a_test_clock_have_no_window(world: World, metric: str) -> None:
    plan = world.plan(world.api.get(f"/v0/products?merchantId={world.id}")["data"][0]["id"],
                      [world.usage_price(metric)])  # fmt: skip
    simulated, real = world.customer(externalId="sim"), world.customer(externalId="real")
    world.subscribe(simulated, plan, at="2031-01-01T00:00:00Z", clock=world.clock("2031-01-01T00:00:00Z"))
    far = datetime(2031, 3, 1, tzinfo=UTC)
    answer = batch(
        world,
        [
            event("a", far, subject=simulated),
            event("b", far, subject=None, externalSubject="sim"),
            event("c", far, subject=real),
            event("d", far, subject=None, externalSubject="real"),
            event("a", far, subject=simulated),
        ],
    )
    assert (answer["accepted"], answer["parked"], answer["repeated"]) == (4, 2, 1)
    assert waiting(world) == ["c", "d"]
    verdicts = accept_events(
        [event("e", far, subject=real)],
        organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW, is_import=True,
    )  # fmt: skip
    assert (len(verdicts.accepted), len(verdicts.parked)) == (1, 0)
    drain()
    assert MeterEvent.objects.count() == 3


def test_too_early_events_are_released_when_their_time_has_come(world: World, metric: str) -> None:
    one(world, "soon", NOW + timedelta(hours=1))
    one(world, "later", NOW + timedelta(days=9))
    one(world, "late", NOW - timedelta(days=50))
    assert release_due(as_of=NOW + timedelta(minutes=59)) == 0
    assert release_due(as_of=NOW + timedelta(hours=1)) == 1
    assert release_due(as_of=NOW + timedelta(hours=1)) == 0
    assert total(world, metric) == 10
    assert release_early_events() == 1  # by now it is later than that, too
    assert waiting(world) == ["late"]
    assert ParkedEvent.objects.get(idempotency_key="soon").settled_by == "time"


def test_what_may_be_forgotten_cannot_be_released(world: World, metric: str) -> None:
    made = one(world, "k", NOW - timedelta(days=50))
    Retention.objects.create(pk=1, keys_gone_until=NOW - timedelta(days=49))
    answer = release(world, ids=[made["id"]])
    assert (answer["released"], answer["refused"][0]["code"]) == (0, "TOO_OLD_TO_COUNT")
    # Nor is it taken at once, however far back the merchant looks.
    type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=400)
    forget_timing()
    assert one(world, "k2", NOW - timedelta(days=50))["parkedReason"] == "too_late"
    assert "parked" not in one(world, "k3", NOW - timedelta(days=48))


def test_a_released_event_of_an_invoiced_period_is_corrected_on_the_next_invoice(world: World) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), "0.01")])
    customer = world.customer()
    clock = world.clock("2026-01-01T00:00:00Z")
    # Sent before it was a customer on a test clock: nobody knew that its time is simulated.
    made = one(world, "k", datetime(2026, 1, 10, tzinfo=UTC), 500, subject=customer)
    assert made["parked"]
    forget_timing()
    subscription = world.subscribe(customer, plan, at="2026-01-01T00:00:00Z", clock=clock)["id"]
    world.advance(clock, "2026-02-02T00:00:00Z")
    release(world, ids=[made["id"]])
    world.advance(clock, "2026-03-02T00:00:00Z")
    totals = [invoice["grandTotal"] for invoice in world.invoices(subscription)]
    assert totals == ["0.00", "5.00", "0.00"]


def test_the_admin_releases_one_and_a_set(world: World, metric: str) -> None:
    for n in range(4):
        one(world, f"k{n}", NOW - timedelta(days=40 + n))
    client = Client()
    engineer = User.objects.create_user("e@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=engineer, role="engineer")
    client.force_login(engineer)
    row = ParkedEvent.objects.get(idempotency_key="k0")
    page = client.get(reverse("admin:metering_parkedevent_change", args=[row.pk]))
    assert b"release-event" in page.content
    url = f"/admin/metering/parkedevent/{row.pk}/release-event/"
    assert b"It counts from then on" in client.get(url).content
    assert client.post(url, {"_form_submitted": "1"}).status_code == 200  # no reason: the dialog again
    assert client.post(url, {"note": "Checked.", "_form_submitted": "1"}).status_code == 302
    assert total(world, metric) == 10
    assert b"release-event" not in client.get(reverse("admin:metering_parkedevent_change", args=[row.pk])).content
    listed = client.get(reverse("admin:metering_parkedevent_changelist"))
    assert b"release-a-set" in listed.content
    form = {"organization": world.merchant.pk, "note": "All good.", "_form_submitted": "1"}
    until = NOW - timedelta(days=41)
    bounds = {"to_0": until.strftime("%Y-%m-%d"), "to_1": "18:00:00"}
    url = "/admin/metering/parkedevent/discard-a-set/"
    assert b"never count" in client.get(url).content
    assert client.post(url, form | bounds).status_code == 302
    assert client.post("/admin/metering/parkedevent/release-a-set/", form).status_code == 302
    states = dict(ParkedEvent.objects.values_list("idempotency_key", "state"))
    assert states == {"k0": "released", "k1": "released", "k2": "discarded", "k3": "discarded"}
    assert set(ParkedEvent.objects.values_list("settled_by", flat=True)) == {"e@merchant.test"}
    viewer = User.objects.create_user("v@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=viewer, role="viewer")
    client.force_login(viewer)
    assert client.post("/admin/metering/parkedevent/release-a-set/", form).status_code == 403
    # An engineer of another merchant cannot choose this one.
    other = make_world()
    client.force_login(other.owner)
    answer = client.post("/admin/metering/parkedevent/release-a-set/", form)
    assert answer.status_code == 200
    assert b"Select a valid choice" in answer.content


@pytest.mark.django_db(transaction=True)
def test_many_who_decide_at_once_decide_once() -> None:
    world = make_world()
    metric = world.metric(world.product())
    far = [event(f"k{n}", NOW - timedelta(days=50 + n), 1) for n in range(60)]
    verdicts = accept_events(far, organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW)
    assert len(verdicts.parked) == 60

    def decide(how: Any, start: int) -> Any:
        rows = parked_events(organization_id=world.merchant.pk, filters={"reason": "too_late"})
        rows = rows.filter(pk__in=list(rows.values_list("pk", flat=True))[start : start + 40])
        return how(organization_id=world.merchant.pk, rows=rows, by="x", note="y", as_of=NOW).done

    works = [(release_parked, 0), (release_parked, 20), (discard_parked, 10), (release_parked, 0)]
    done = at_once([lambda how=how, start=start: decide(how, start) for how, start in works])
    assert sum(done) == 60
    drain()
    released = ParkedEvent.objects.filter(state="released").count()
    assert released == sum(done) - done[2]
    assert MeterEvent.objects.count() == released
    assert world.api.get(f"/v0/billableMetrics/{metric}/meter?{YEAR}")["totalValue"] == released


def test_the_check_costs_next_to_nothing(world: World, metric: str) -> None:
    """A hundred thousand comparisons, as the loop over a batch makes them, with room for a busy machine."""
    from time import perf_counter

    from apps.metering.selectors.timing import accepted_interval

    moments = [NOW - timedelta(seconds=n % 1000) for n in range(100_000)]
    earliest, latest = accepted_interval(organization_id=world.merchant.pk, as_of=NOW)
    best = 1.0
    for _ in range(5):
        began = perf_counter()
        odd = sum(not earliest <= moment < latest for moment in moments)
        best = min(best, perf_counter() - began)
    assert odd == 0
    assert best / len(moments) < 1e-6
