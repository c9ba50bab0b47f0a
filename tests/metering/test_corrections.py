"""Voids, verdicts, conflicts, backfills, dead letters tried again, windows checked: over HTTP and by commands."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.kernel.clock import wall_now
from apps.metering.domain.wire import decode_object
from apps.metering.models import BackfillJob, DeadLetter, EventVoid, UsageWindow, VoidJob
from apps.metering.selectors.registry import MetricShape
from apps.metering.services.backfilling import SETTLE
from apps.metering.services.counting import Counter
from apps.metering.services.jobs import (
    lost_jobs,
    resume_job,
    run_backfill,
    run_void_job,
    seconds_to_wait,
    stop_job,
)  # fmt: skip
from apps.metering.services.merge import drain
from tests.test_admin import browser
from tests.world import World, at, make_world

MONTH = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"
DAY = "2026-01-05T10:00:00Z"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]


def total(world: World, metric: str, span: str = MONTH) -> Any:
    drain()
    return world.api.get(f"/v0/billableMetrics/{metric}/meter?{span}")["totalValue"]


def status(world: World, *keys: str) -> list[dict[str, Any]]:
    query = "&".join(f"idempotencyKey={key}" for key in keys)
    found: list[dict[str, Any]] = world.api.get(f"/v0/events/status?{query}")["data"]
    return found


def void(world: World, expect: int = 200, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.api.post("/v0/events/void", {"reason": "sent twice", **body}, expect=expect)
    return found


# Voids


def test_a_void_takes_the_event_out_of_every_read_and_keeps_it_in_the_list(world: World, metric: str) -> None:
    first = world.send("cus_1", DAY, key="a", tokens=10)["id"]
    world.send("cus_1", "2026-01-05T10:30:00Z", key="b", tokens=5)
    # Not merged yet: that is done first.
    answer = void(world, idempotencyKeys=["a", "nobody"])
    assert (answer["voided"], answer["alreadyVoided"], answer["unknown"]) == (1, 0, 1)
    assert answer["events"] == [
        {"name": "a", "outcome": "voided", "eventId": first},
        {"name": "nobody", "outcome": "unknown", "eventId": None},
    ]
    assert total(world, metric) == 5
    assert total(world, metric, "from=2026-01-05T09:30:00Z&to=2026-01-05T10:10:00Z") == 0
    assert total(world, metric, "from=2026-01-05T09:30:00Z&to=2026-01-05T10:40:00Z") == 5
    events = world.api.get(f"/v0/billableMetrics/{metric}/events?{MONTH}")["events"]
    assert [(e["idempotencyKey"], e.get("voidReason")) for e in events] == [("b", None), ("a", "sent twice")]
    # Again, by id, changes nothing and says so; the first reason stands.
    again = void(world, eventIds=[first], reason="another")
    assert (again["voided"], again["alreadyVoided"]) == (0, 1)
    row = EventVoid.objects.get()
    assert (row.reason, row.voided_by, row.quantities) == ("sent twice", world.owner, [Decimal(10)])
    listed = world.api.get("/v0/events/voids?idempotencyKey=a")
    assert [(v["eventId"], v["reason"], v["jobId"]) for v in listed["data"]] == [(first, "sent twice", None)]
    assert world.api.get("/v0/events/voids?eventId=evt_x")["pagination"]["total"] == 0


def test_sending_a_voided_event_again_does_not_bring_it_back(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=10)
    void(world, idempotencyKeys=["a"])
    world.send("cus_1", DAY, key="a", tokens=10)
    world.send("cus_1", DAY, key="a", tokens=99)
    assert total(world, metric) == 0
    assert not UsageWindow.objects.filter(organization_id=world.merchant.pk).exists()
    (found,) = status(world, "a")
    assert (found["status"], found["conflicts"], found["reason"]) == ("voided", 1, "sent twice")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "x"}, "filter"),
        ({"reason": "", "eventIds": ["evt_1"]}, "reason"),
        ({"reason": "   ", "eventIds": ["evt_1"]}, "reason"),
        ({"eventIds": ["evt_1"]}, "reason"),
        ({"reason": "x", "eventIds": []}, "eventIds"),
        ({"reason": "x", "eventIds": ["e"], "idempotencyKeys": ["k"]}, "eventIds"),
        ({"reason": "x", "idempotencyKeys": ["k"] * 1001}, "idempotencyKeys"),
        ({"reason": "x", "filter": {}}, "filter"),
        ({"reason": "x", "filter": {"from": DAY, "to": DAY}}, "filter.to"),
    ],
)
def test_a_void_that_names_nothing_usable_is_refused(world: World, metric: str, body: Any, field: str) -> None:
    answer = world.api.post("/v0/events/void", body, expect=400)
    assert field in {problem["field"] for problem in answer["errors"]}
    assert not EventVoid.objects.exists()
    assert not VoidJob.objects.exists()


def test_nobody_voids_or_sees_another_merchants_events(world: World, metric: str) -> None:
    event = world.send("cus_1", DAY, key="a", tokens=10)["id"]
    world.send("cus_1", DAY, key="a", tokens=11)
    drain()
    other = make_world()
    assert void(other, eventIds=[event])["unknown"] == 1
    assert void(other, idempotencyKeys=["a"])["unknown"] == 1
    assert status(other, "a")[0]["status"] == "unknown"
    void(world, eventIds=[event])
    job = void(world, expect=202, filter={"source": "x"})["id"]
    for path in ("/v0/events/conflicts", "/v0/events/voids", "/v0/events/voidJobs"):
        assert world.api.get(path)["pagination"]["total"] == 1
        assert other.api.get(path)["data"] == []
    other.api.get(f"/v0/events/voidJobs/{job}", expect=404)


def test_a_filter_voids_by_a_job_with_progress(world: World, metric: str) -> None:
    customer = world.customer(externalId="acme")
    for n, (subject, moment) in enumerate(
        [(customer, DAY), (customer, "2026-01-07T00:00:00Z"), ("cus_other", DAY), (customer, "2026-01-06T00:00:00Z")]
    ):
        world.send(subject, moment, key=f"k{n}", tokens=1)
    chosen = {"type": "ai.inference", "subject": customer, "from": DAY, "to": "2026-01-07T00:00:00Z"}
    made = void(world, expect=202, filter=chosen)
    assert (made["status"], made["total"], made["filter"]) == ("queued", None, chosen)
    job = VoidJob.objects.get(public_id=made["id"])
    assert not run_void_job(job_id=job.pk, seconds=10)
    found = world.api.get(f"/v0/events/voidJobs/{made['id']}")
    assert (found["status"], found["total"], found["seen"], found["changed"]) == ("done", 3, 3, 2)
    assert found["finishedAt"]
    assert total(world, metric) == 2
    assert set(EventVoid.objects.values_list("idempotency_key", flat=True)) == {"k0", "k3"}
    assert world.api.get("/v0/events/voids")["data"][0]["jobId"] == made["id"]


def test_a_job_can_be_stopped_resumed_and_found_when_it_is_lost(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=1)
    job = VoidJob.objects.get(public_id=void(world, expect=202, filter={"externalSubject": "nobody"})["id"])
    stop_job(job=job)
    assert not run_void_job(job_id=job.pk, seconds=10)
    job.refresh_from_db()
    assert (job.status, job.seen) == ("stopped", 0)
    assert lost_jobs(as_of=wall_now() + 100 * SETTLE) == ([], [])
    resume_job(job=job)
    assert lost_jobs(as_of=wall_now()) == ([], [])
    assert lost_jobs(as_of=wall_now() + 100 * SETTLE) == ([job.pk], [])
    run_void_job(job_id=job.pk, seconds=10)
    job.refresh_from_db()
    assert (job.status, job.seen, job.changed) == ("done", 1, 0)
    assert total(world, metric) == 1


# Verdicts and conflicts


def test_the_verdict_on_a_key_can_be_read_at_every_stage(world: World, metric: str) -> None:
    staged = world.send("cus_1", DAY, key="a", tokens=10)
    (found,) = status(world, "a")
    assert (found["status"], found["eventId"]) == ("staged", staged["id"])
    assert found["acceptedAt"]
    drain()
    world.send("cus_1", DAY, key="b", tokens=1)
    world.send("cus_1", DAY, key="b", tokens=2)
    world.send("cus_1", DAY, key="c", tokens=1)
    drain()
    void(world, idempotencyKeys=["c"])
    world.send("cus_1", DAY, key="a", tokens=10)  # a repeat that waits changes no verdict
    answers = status(world, "c", "nobody", "a", "b")
    assert [(f["idempotencyKey"], f["status"]) for f in answers] == [
        ("c", "voided"), ("nobody", "unknown"), ("a", "counted"), ("b", "conflict"),
    ]  # fmt: skip
    assert answers[0]["decidedAt"]
    assert answers[1]["eventId"] is None
    assert answers[3]["conflicts"] == 1
    (conflict,) = world.api.get("/v0/events/conflicts?idempotencyKey=b")["data"]
    assert conflict["eventId"] == answers[3]["eventId"]
    assert conflict["content"]["data"] == {"tokens": 2}
    assert world.api.get("/v0/events/conflicts?idempotencyKey=a")["data"] == []
    world.api.get("/v0/events/status", expect=400)
    world.api.get("/v0/events/status?" + "&".join(["idempotencyKey=a"] * 101), expect=400)


# Backfill


def backfill(world: World, metric: str, **body: Any) -> BackfillJob:
    made = world.api.post(f"/v0/billableMetrics/{metric}/backfill", body, expect=202)
    job = BackfillJob.objects.get(public_id=made["id"])
    assert not run_backfill(job_id=job.pk, seconds=10)
    job.refresh_from_db()
    return job


def test_a_metric_made_later_counts_stored_events_from_its_beginning(world: World, metric: str) -> None:
    for day in (3, 4, 5):
        world.send("cus_1", f"2026-01-0{day}T10:00:00Z", key=f"k{day}", tokens=day, model="m", size="big")
    world.send("cus_1", DAY, key="bad", tokens=1, other="x")
    drain()
    late = world.metric(
        world.product(), path="$.tokens", groupBy={"model": "$.model"}, eventFrom="2026-01-04T00:00:00Z"
    )
    strict = world.metric(world.product(), path="$.other")
    job = backfill(world, late)
    assert (job.status, job.total, job.seen, job.changed, job.unusable) == ("done", 4, 4, 3, 0)
    assert total(world, late) == 10
    assert total(world, late, "from=2026-01-04T09:30:00Z&to=2026-01-04T10:30:00Z") == 4
    grouped = world.api.get(f"/v0/billableMetrics/{late}/meter?{MONTH}&groupBy=model")["groupedValues"]
    assert {row["groupBy"]["model"]: row["value"] for row in grouped} == {"m": 9, "": 1}
    unusable = backfill(world, strict)
    assert (unusable.status, unusable.changed, unusable.unusable) == ("done", 0, 4)
    assert "$.other" in unusable.first_problem
    # The beginning moves and the dimension changes: only what differs is touched; the old groups' windows vanish.
    world.api.patch(
        f"/v0/billableMetrics/{late}", {"eventFrom": "2026-01-01T00:00:00Z", "groupBy": {"size": "$.size"}}
    )
    again = backfill(world, late, **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"})
    assert (again.seen, again.changed) == (2, 2)
    assert total(world, late) == 13
    again = backfill(world, late)
    assert again.changed == 2
    grouped = world.api.get(f"/v0/billableMetrics/{late}/meter?{MONTH}&groupBy=size")["groupedValues"]
    assert {row["groupBy"]["size"]: row["value"] for row in grouped} == {"big": 12, "": 1}
    assert backfill(world, late).changed == 0
    assert total(world, metric) == 13
    listed = world.api.get(f"/v0/billableMetrics/{late}/backfill")
    assert listed["pagination"]["total"] == 4
    assert listed["data"][2]["interval"] == {"from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"}


def test_a_backfill_waits_for_old_definitions_and_stops_at_a_new_one(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=1)
    first = world.api.post(f"/v0/billableMetrics/{metric}/backfill", expect=202)
    assert world.api.post(f"/v0/billableMetrics/{metric}/backfill", expect=202)["id"] == first["id"]
    other = world.api.post(f"/v0/billableMetrics/{metric}/backfill", {"from": DAY}, expect=409)
    assert other["code"] == "BACKFILL_RUNNING"
    job = BackfillJob.objects.get()
    assert 5 < seconds_to_wait(job_id=job.pk, as_of=wall_now()) <= SETTLE.total_seconds()
    assert seconds_to_wait(job_id=job.pk, as_of=wall_now() + SETTLE) == 0
    world.api.patch(f"/v0/billableMetrics/{metric}", {"valueProperty": "$.other"})
    assert not run_backfill(job_id=job.pk, seconds=10)
    job.refresh_from_db()
    assert job.status == "failed"
    assert "changed meanwhile" in job.failure
    assert total(world, metric) == 1


numbers = st.sampled_from(
    [
        "1",
        "1.0",
        "1e2",
        "1E+2",
        "-0",
        "-0.0",
        "0.1",
        "1.50",
        "123456789012345678901234567890",
        "1e-7",
        "2.5e3",
        "-7.25",
    ]
)


@settings(max_examples=40, deadline=None)
@given(value=numbers, group=numbers, kind=st.sampled_from(["SUM", "UNIQUE_COUNT", "COUNT"]))
def test_a_stored_event_counts_as_it_did_when_it_came(value: str, group: str, kind: str) -> None:
    """Whatever way numbers are written: read again from what the database keeps they give the same effect."""
    metric = MetricShape(1, "bm", kind, "$.v", ("v",), ("g",), (("g",),), None)
    sent = f'{{"v": {value}, "g": {group}, "text": "1.0"}}'
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb::text", [sent])
        kept = cursor.fetchone()[0]

    def effect(data: str) -> Any:
        targets, quantity, hashed, ignored = Counter((metric,)).count(
            decode_object(data), occurred_at=at(DAY), key="k"
        )
        return targets.pairs, Decimal(quantity or 0), hashed, ignored

    assert effect(sent) == effect(kept)


# Dead letters


def test_a_value_that_a_mended_metric_can_use_is_counted_by_trying_again(world: World, metric: str) -> None:
    seconds = world.metric(world.product(), path="$.seconds")
    world.send("cus_1", DAY, key="a", tokens=7, seconds="long", millis=1500)
    drain()
    letter = DeadLetter.objects.get()
    client = browser(world.owner)
    url = f"/admin/metering/deadletter/{letter.pk}/try-again/"
    assert client.post(url, {"_form_submitted": "1"}).status_code == 302
    letter.refresh_from_db()
    assert letter.resolved_at is None  # nothing is mended yet
    world.api.patch(f"/v0/billableMetrics/{seconds}", {"valueProperty": "$.millis"})
    assert client.post(url, {"_form_submitted": "1"}).status_code == 302
    letter.refresh_from_db()
    assert letter.resolved_at is not None
    assert total(world, seconds) == 1500
    assert total(world, metric) == 7
    client.post(url, {"_form_submitted": "1"})
    assert total(world, seconds) == 1500


def test_an_event_that_could_not_be_merged_is_merged_after_its_cause_is_gone(world: World, metric: str) -> None:
    huge = "9" * 27
    for n in range(400):
        world.send("cus_1", DAY, key=f"k{n}", tokens=huge)
    drain()
    letters = DeadLetter.objects.filter(stage="merge")
    assert letters.exists()
    letter = letters.order_by("id")[0]
    key = letter.payload["idempotencyKey"]
    before = status(world, key)[0]
    assert (before["status"], before["eventId"]) == ("dead_letter", letter.payload["id"])
    assert before["acceptedAt"]
    void(world, idempotencyKeys=[f"k{n}" for n in range(400)])
    assert total(world, metric) == 0
    client = browser(world.owner)
    client.post(f"/admin/metering/deadletter/{letter.pk}/try-again/", {"_form_submitted": "1"})
    letter.refresh_from_db()
    assert letter.resolved_at is not None
    assert status(world, key)[0]["status"] == "staged"
    assert total(world, metric) == int(huge)
    after = status(world, key)[0]
    assert (after["status"], after["eventId"]) == ("counted", letter.payload["id"])
