"""The doctor names what is not well, and how to mend it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.customers.models import Customer
from apps.documents.services.fonts import covered, fonts
from apps.kernel.clock import wall_now
from apps.kernel.doctor import Check, Finding, State, examine, ok, problem
from apps.kernel.time import format_instant
from apps.metering.models import DeadLetter, EventExport
from apps.metering.services.partitions import make_partitions
from apps.metering.services.staging import accept_events
from apps.organizations.models import Organization
from config.schedule import SCHEDULE
from tests.world import World

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parent.parent.parent


def doctor(*arguments: str) -> tuple[int, dict[str, Any]]:
    output = io.StringIO()
    try:
        call_command("doctor", "--json", *arguments, stdout=output)
        code = 0
    except SystemExit as ended:
        code = int(str(ended.code))
    found = json.loads(output.getvalue())
    assert found["ok"] == (code == 0)
    return code, {check["name"]: check for check in found["checks"]}


@pytest.fixture
def well(world: World) -> World:
    """An installation as its running parts leave it."""
    now = wall_now()
    for name in ("beat", "worker", "merger"):
        cache.set(f"heartbeat:{name}", format_instant(now), timeout=60)
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    for name, entry in SCHEDULE.items():
        PeriodicTask.objects.update_or_create(name=name, defaults={"task": entry["task"], "interval": every})
    make_partitions(as_of=now)
    return world


def test_all_is_well(well: World) -> None:
    code, found = doctor()
    ill = {name: check for name, check in found.items() if check["state"] == "problem"}
    assert (code, ill) == (0, {})
    assert len(found) >= 18
    table = io.StringIO()
    call_command("doctor", stdout=table)
    assert "PostgreSQL" in table.getvalue()
    assert "0 problem(s)" in table.getvalue()


def silence(world: World) -> None:
    cache.set("heartbeat:merger", format_instant(wall_now() - timedelta(hours=1)))


def never_heard(world: World) -> None:
    cache.delete("heartbeat:beat")


def stage_old(world: World) -> None:
    world.metric(world.product())
    accept_events(
        [{"type": "ai.inference", "source": "s", "subject": "c", "data": {"tokens": 1}}],
        organization_id=world.merchant.pk, organization_public_id=world.id, as_of=wall_now() - timedelta(minutes=5),
    )  # fmt: skip


def park(world: World, shift: timedelta) -> None:
    world.metric(world.product())
    accept_events(
        [{"type": "ai.inference", "source": "s", "subject": "c", "data": {"tokens": 1},
          "timestamp": format_instant(wall_now() + shift)}],
        organization_id=world.merchant.pk, organization_public_id=world.id,
        as_of=wall_now() - timedelta(hours=1),
    )  # fmt: skip


def letter(world: World) -> None:
    DeadLetter.objects.create(
        organization=world.merchant, stage="merge", code="X", message="x", payload={}, created_at=wall_now()
    )


def unpartition(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE metering_event_{wall_now():%Y_%m}")


def unverified(world: World) -> None:
    EventExport.objects.create(
        month=date(2024, 1, 1), number=1, folder="/x", manifest_sha256="0", row_count=1, digest=1,
        exported_at=wall_now(),
    )  # fmt: skip


def write_past_the_services(world: World) -> None:
    customer = world.customer(externalId="a")
    Customer.objects.filter(public_id=customer).update(external_id="b")


def switch_off(world: World) -> None:
    PeriodicTask.objects.filter(name="lifecycle").update(enabled=False)


def unschedule(world: World) -> None:
    PeriodicTask.objects.filter(name="metering.sweep").delete()


def name_oddly(world: World) -> None:
    world.customer()
    Organization.objects.filter(managed_by=world.merchant).update(name="Smile 😀 Ltd")


@pytest.mark.parametrize(
    ("name", "break_it", "state", "said"),
    [
        ("merger", silence, "problem", "silent for 60 min"),
        ("beat", never_heard, "problem", "no heartbeat"),
        ("merging", stage_old, "problem", "1 events wait, the oldest for 5 min"),
        ("parked events", lambda world: park(world, timedelta(days=-90)), "warning", "1 events wait"),
        ("parked events", lambda world: park(world, timedelta(minutes=-30)), "problem", "whose time has come"),
        ("dead letters", letter, "warning", "1 open"),
        ("partitions", unpartition, "problem", "no partition for"),
        ("exports", unverified, "warning", "not verified: 2024-01"),
        ("own ids", write_past_the_services, "problem", "2 customers"),
        ("schedule", switch_off, "warning", "switched off: lifecycle"),
        ("schedule", unschedule, "problem", "not scheduled: metering.sweep"),
        ("documents", name_oddly, "warning", "such as Smile 😀 Ltd"),
    ],
)
def test_each_ailment_is_found_with_a_remedy(
    well: World, name: str, break_it: Callable[[World], None], state: str, said: str
) -> None:
    break_it(well)
    code, found = doctor()
    assert (found[name]["state"], code) == (state, 1 if state == "problem" else 0), found[name]
    assert said in found[name]["text"]
    assert found[name]["fix"]
    assert doctor("--strict")[0] == 1


def test_documents_without_their_fonts_are_found(well: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.documents.services.fonts.PACKAGES", ())
    for looked_up in (fonts, covered):
        looked_up.cache_clear()
    try:
        code, found = doctor()
    finally:
        fonts.cache_clear()
    assert (code, found["documents"]["state"]) == (1, "problem")
    assert "Noto Sans is missing" in found["documents"]["text"]
    assert "make setup" in found["documents"]["fix"]


def test_one_check_that_breaks_keeps_no_other_from_running() -> None:
    def explode(as_of: datetime) -> Finding:
        raise RuntimeError("boom\nmore")

    checks = [
        Check("first", explode),
        Check("second", lambda as_of: ok("fine")),
        Check("third", lambda as_of: ok("never"), needs=("first",)),
        Check("fourth", lambda as_of: problem("x", "y"), needs=("second",)),
    ]
    found = dict(examine(as_of=wall_now(), checks=checks))
    assert found["first"].text == "RuntimeError: boom"
    states = [finding.state for finding in found.values()]
    assert states == [State.PROBLEM, State.OK, State.SKIPPED, State.PROBLEM]


def test_it_comes_when_nothing_runs(tmp_path: Path) -> None:
    environment = {
        **os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0",
        "VAR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    states = {name: check["state"] for name, check in checks.items()}
    assert (states["database"], states["broker"], states["settings"]) == ("problem", "problem", "ok")
    assert "DATABASE_URL" in checks["database"]["fix"]
    assert "REDIS_URL" in checks["broker"]["fix"]
    assert states["migrations"] == states["merging"] == states["worker"] == "skipped"
