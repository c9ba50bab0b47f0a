"""Corrections in the admin: who may make them, and what becomes of them."""

import pytest
from django.db import connection

from apps.catalog.models import BillableMetric
from apps.metering.domain.keys import accepted_within, key_hash, stamp
from apps.metering.models import BackfillJob, EventVoid, MeterEvent, UsageWindow, VoidJob
from apps.metering.services.merge import drain
from apps.organizations.models import Membership, User
from tests.metering.test_corrections import total
from tests.test_admin import browser
from tests.world import World, at, make_world

DAY = "2026-01-05T10:00:00Z"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]


def test_an_id_tells_when_its_event_was_accepted() -> None:
    moment = at("2026-01-05T10:00:00.123456Z")
    low, high = accepted_within(f"evt_{stamp(moment)}0001") or (None, None)
    assert low == at("2026-01-05T10:00:00.123Z")
    assert low <= moment < high  # type: ignore[operator]
    assert accepted_within("evt_short") is None
    assert accepted_within("auto_" + "f" * 27) is None
    assert key_hash(1, "a") != key_hash(11, "a")


def member(world: World, role: str) -> User:
    user = User.objects.create_user(f"{role}-{world.id}@merchant.test", "correct horse battery", is_staff=True)
    Membership.objects.create(organization=world.merchant, user=user, role=role)
    return user


def test_an_engineer_voids_in_the_admin_and_a_viewer_cannot(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=10)
    drain()
    event = MeterEvent.objects.get()
    url = f"/admin/metering/meterevent/{event.pk}/void-event/"
    assert browser(member(world, "viewer")).post(url, {"reason": "x", "_form_submitted": "1"}).status_code == 403
    assert not EventVoid.objects.exists()
    engineer = member(world, "engineer")
    client = browser(engineer)
    assert b"cannot be undone" in client.get(url).content
    assert not EventVoid.objects.exists()
    assert client.post(url, {"reason": "test data", "_form_submitted": "1"}).status_code == 302
    assert EventVoid.objects.get().voided_by == engineer
    assert total(world, metric) == 0
    page = client.get(f"/admin/metering/meterevent/{event.pk}/change/").content
    assert b"test data" in page
    assert b"void-event" not in page
    for term in (event.public_id, "a"):
        assert event.public_id in client.get(f"/admin/metering/meterevent/?q={term}").content.decode()
    assert event.public_id not in client.get("/admin/metering/meterevent/?q=nobody").content.decode()


def test_lists_show_the_beginning_of_large_data(world: World, metric: str) -> None:
    large = {"tokens": 10, "text": "long " * 100_000}
    for key, moment, data in (
        ("a", DAY, {"tokens": 1}), ("a", DAY, large), ("b", DAY, large), ("c", "1990-01-01T00:00:00Z", large),
    ):  # fmt: skip
        event = {"type": "ai.inference", "source": "app", "subject": "cus_1", "timestamp": moment, "data": data}
        world.api.post("/v0/events", {**event, "idempotencyKey": key}, expect=202)
    drain()
    client = browser(member(world, "engineer"))
    for screen in ("meterevent", "eventconflict", "parkedevent"):
        page = client.get(f"/admin/metering/{screen}/").content.decode()
        assert "long long" in page
        assert len(page) < 200_000, screen


def test_jobs_are_started_in_the_admin(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=10)
    engineer = member(world, "engineer")
    client = browser(engineer)
    form = {"organization": world.merchant.pk, "reason": "wrong", "event_type": "ai.inference"}
    assert client.post("/admin/metering/voidjob/add/", form).status_code == 302
    job = VoidJob.objects.get()
    assert (job.status, job.event_type, job.reason) == ("queued", "ai.inference", "wrong")
    # A filter that names nothing is refused with a message, and nothing is made.
    answer = client.post("/admin/metering/voidjob/add/", {**form, "event_type": ""}, follow=True)
    assert b"Name at least one" in answer.content
    assert client.post(f"/admin/metering/voidjob/{job.pk}/stop/", {"_form_submitted": "1"}).status_code == 302
    job.refresh_from_db()
    assert job.status == "stopped"
    pk = BillableMetric.objects.get(public_id=metric).pk
    assert client.post("/admin/metering/backfilljob/add/", {"metric": pk}).status_code == 302
    assert BackfillJob.objects.get().metric_id == pk
    # Rights of one merchant do not reach another's events.
    other = make_world()
    Membership.objects.create(organization=other.merchant, user=engineer, role="viewer")
    answer = client.post("/admin/metering/voidjob/add/", {**form, "organization": other.merchant.pk}, follow=True)
    assert b"may not correct" in answer.content
    assert VoidJob.objects.count() == 1


def test_a_window_is_recomputed_in_the_admin(world: World, metric: str) -> None:
    world.send("cus_1", DAY, key="a", tokens=10)
    drain()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_window SET sum = 99")
    window = UsageWindow.objects.get()
    url = f"/admin/metering/usagewindow/{window.pk}/recompute/"
    assert browser(world.owner).post(url, {"_form_submitted": "1"}).status_code == 302
    assert total(world, metric) == 10
