"""Windows that are not what their events say are found, named and repaired."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from apps.catalog.models import BillableMetric
from apps.metering.models import UsageWindow
from apps.metering.services.merge import drain
from tests.metering.test_corrections import total
from tests.test_admin import browser
from tests.world import World, at, make_world

DAY = "2026-01-05T10:00:00Z"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]


def test_verify_windows_names_every_difference_and_repairs_it(world: World, metric: str) -> None:
    unique = world.metric(world.product(), path="$.user", aggregation="UNIQUE_COUNT")
    latest = world.metric(world.product(), path="$.tokens", aggregation="LATEST")
    for n in range(6):
        world.send(f"cus_{n % 2}", f"2026-01-05T1{n}:20:00Z", tokens=n + 1, user=f"u{n}")
    drain()
    other = make_world()
    other.metric(other.product())
    other.send("cus_1", DAY, tokens=1)
    drain()

    def verify(**options: Any) -> tuple[int, str]:
        out = StringIO()
        try:
            call_command("verify_windows", stdout=out, **options)
        except SystemExit as end:
            return int(end.code or 0), out.getvalue()
        return 0, out.getvalue()

    assert verify() == (0, "Every window is what its events say.\n")
    keys = {public_id: BillableMetric.objects.get(public_id=public_id).pk for public_id in (metric, unique, latest)}
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE metering_window SET sum = sum + 1 WHERE metric_id = %s AND hour = '2026-01-05T10:00Z'",
            [keys[metric]],
        )
        cursor.execute(
            "DELETE FROM metering_window WHERE metric_id = %s AND hour = '2026-01-05T11:00Z'", [keys[metric]]
        )
        cursor.execute(
            "INSERT INTO metering_window (organization_id, metric_id, subject_id, hour, sum, count, changed_at)"
            " SELECT organization_id, metric_id, subject_id, '2026-01-09T00:00Z', 5, 1, now() FROM metering_window"
            " WHERE metric_id = %s LIMIT 1",
            [keys[metric]],
        )
        cursor.execute(
            "DELETE FROM metering_windowvalue WHERE metric_id = %s AND hour = '2026-01-05T12:00Z'", [keys[unique]]
        )
        cursor.execute(
            "UPDATE metering_window SET latest = 0 WHERE metric_id = %s AND hour = '2026-01-05T13:00Z'",
            [keys[latest]],
        )
        # A window of the other merchant, whose check is not asked for below.
        cursor.execute("UPDATE metering_window SET count = 2 WHERE organization_id = %s", [other.merchant.pk])
    code, said = verify(organization=world.id)
    assert code == 1
    lines = said.splitlines()
    assert len(lines) == 5 + 2
    assert sum(metric in line for line in lines) == 3
    assert any("events say nothing" in line for line in lines)
    assert any("stored nothing" in line for line in lines)
    assert verify(metric=unique)[1].count("differ") == 1
    assert verify(metric=metric, start="2026-01-05T10:30:00Z", end="2026-01-05T10:31:00Z")[0] == 1
    assert verify(metric=metric, start="2026-01-05T12:00:00Z", end="2026-01-06T00:00:00Z")[0] == 0
    assert verify(organization=world.id, repair=True)[0] == 0
    assert verify(organization=world.id)[0] == 0
    assert total(world, metric) == 21
    assert total(world, unique) == 6
    assert total(world, latest) == 6
    assert verify()[0] == 1
    assert verify(repair=True)[0] == 0
    # A month without events keeps its windows: they were dropped, and the windows are all there is.
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_window (organization_id, metric_id, subject_id, hour, sum, count, changed_at)"
            " SELECT organization_id, metric_id, subject_id, '2025-12-09T00:00Z', 5, 1, now() FROM metering_window"
            " WHERE metric_id = %s LIMIT 1",
            [keys[metric]],
        )
    code, said = verify(repair=True)
    assert code == 1
    assert "0 repaired" in said
    assert total(world, metric, "from=2025-12-01T00:00:00Z&to=2026-01-01T00:00:00Z") == 5
    old = UsageWindow.objects.get(hour=at("2025-12-09T00:00:00Z"))
    browser(world.owner).post(f"/admin/metering/usagewindow/{old.pk}/recompute/", {"_form_submitted": "1"})
    assert UsageWindow.objects.filter(pk=old.pk).exists()
