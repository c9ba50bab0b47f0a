"""Raw events and keys go when nothing needs them; what is gone is said, and nothing ever counts twice."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from apps.invoicing.models import Invoice
from apps.kernel.errors import ConflictError
from apps.metering.domain.months import bounds, month_of, month_of_partition, next_month, partition_name
from apps.metering.models import EventExport, MeterEvent, Retention, UsageWindow
from apps.metering.selectors.gone import RawEventsGoneError
from apps.metering.selectors.links import SubjectSpan
from apps.metering.selectors.usage import UsageRequest, period_usage
from apps.metering.services.dropping import drop_month, drop_old_events
from apps.metering.services.exporting import export_month, stored_contents, verify_export
from apps.metering.services.interning import intern_subjects
from apps.metering.services.merge import drain
from apps.metering.services.partitions import (
    make_partitions,
    months_ahead,
    months_without_partition,
    stored_months,
)
from apps.metering.services.staging import Verdicts, accept_events
from tests.world import World

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, MARCH = date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)
NOW = datetime(2024, 6, 15, tzinfo=UTC)
RAW_DAYS = 62


def accept(world: World, *moments: str, as_of: datetime = NOW, is_import: bool = True, **extra: Any) -> Verdicts:
    raw: list[Any] = [
        {
            "type": "ai.inference", "source": "s", "subject": "cus_1", "timestamp": moment,
            "idempotencyKey": f"k-{moment}", "data": {"tokens": 10 + n, "text": "a\\b\n\"ü\""}, **extra,
        }
        for n, moment in enumerate(moments)
    ]  # fmt: skip
    found = accept_events(
        raw,
        organization_id=world.merchant.pk,
        organization_public_id=world.id,
        as_of=as_of,
        is_import=is_import,
    )
    assert not found.rejected
    drain()
    return found


def keys() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_key")
        return int(cursor.fetchone()[0])


def exported(month: date, root: Path) -> EventExport:
    return verify_export(export=export_month(month=month, root=root, as_of=NOW), as_of=NOW)


def drop(month: date, **extra: Any) -> int:
    return drop_month(month=month, **{"as_of": NOW, "raw_days": RAW_DAYS, **extra})


def refusal(month: date, **extra: Any) -> str:
    with pytest.raises(ConflictError) as caught:
        drop(month, **extra)
    return caught.value.code


def test_months_have_names_and_bounds() -> None:
    assert next_month(date(2024, 12, 1)) == date(2025, 1, 1)
    assert bounds(date(2024, 2, 1)) == (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
    assert month_of(datetime.fromisoformat("2024-02-01T00:30:00+01:00")) == JANUARY
    assert month_of_partition(partition_name(MARCH)) == MARCH
    assert month_of_partition("metering_event_other") is None


def test_partitions_are_made_ahead_and_around_events_that_came_before(world: World, metric: str) -> None:
    moments = ["2024-01-01T00:00:00Z", "2024-01-31T23:59:59.999999Z", "2024-02-01T00:00:00Z"]
    accept(world, *moments)
    before = list(MeterEvent.objects.order_by("id").values())
    assert months_without_partition() == [JANUARY, FEBRUARY]
    assert make_partitions(as_of=NOW) == [JANUARY, FEBRUARY, *months_ahead(NOW)]
    assert make_partitions(as_of=NOW) == []
    assert months_without_partition() == []
    assert stored_months() == [JANUARY, FEBRUARY, *months_ahead(NOW)]
    assert list(MeterEvent.objects.order_by("id").values()) == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM metering_event GROUP BY 1 ORDER BY 1")
        assert cursor.fetchall() == [("metering_event_2024_01", 2), ("metering_event_2024_02", 1)]
        cursor.execute("SELECT count(*) FROM pg_indexes WHERE tablename = 'metering_event_2024_01'")
        assert cursor.fetchone()[0] >= 2
    accept(world, *moments)  # repeats of what was moved
    accept(world, "2024-01-15T00:00:00Z")
    assert MeterEvent.objects.count() == 4


def test_an_export_holds_every_event_and_can_be_imported_again(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z", "2024-01-05T10:45:00.123456Z", "2024-01-31T23:59:59Z")
    accept(world, "2024-02-01T00:00:00Z", externalId="x")
    export = export_month(month=JANUARY, root=tmp_path, as_of=NOW)
    assert (export.row_count, export.verified_at) == (3, None)
    manifest = json.loads((Path(export.folder) / "manifest.json").read_bytes())
    assert manifest["interval"] == {"from": "2024-01-01T00:00:00Z", "to": "2024-02-01T00:00:00Z"}
    assert len(manifest["files"]) == 31
    assert not list(Path(export.folder).glob("*.part"))
    with gzip.open(Path(export.folder) / "2024-01-05.ndjson.gz") as packed:
        lines = [json.loads(line) for line in packed]
    assert [(line["subject"], line["data"]["text"], line["quantities"]) for line in lines] == [
        ("cus_1", 'a\\b\n"ü"', [10]),
        ("cus_1", 'a\\b\n"ü"', [11]),
    ]
    assert {line["namespace"] for line in lines} == {world.id}
    contents = stored_contents(*bounds(JANUARY))
    assert (manifest["rows"], manifest["digest"]) == (contents.rows, contents.digest)
    again = {name: value for name, value in lines[0].items() if value is not None}
    verdicts = accept_events(
        [again], organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW, is_import=True
    )
    assert len(verdicts.accepted) == 1
    drain()
    assert MeterEvent.objects.count() == 4  # its key is known
    with pytest.raises(ConflictError, match="not over"):
        export_month(month=month_of(NOW), root=tmp_path, as_of=NOW)


def test_an_export_goes_on_where_it_stopped(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z", "2024-01-20T10:45:00Z")

    def stop(name: str, is_new: bool) -> None:
        if name.startswith("2024-01-10"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_month(month=JANUARY, root=tmp_path, as_of=NOW, on_file=stop)
    assert EventExport.objects.count() == 0
    written: list[str] = []

    def note(name: str, is_new: bool) -> None:
        if is_new:
            written.append(name)

    export = export_month(month=JANUARY, root=tmp_path, as_of=NOW, on_file=note)
    assert (len(written), export.row_count) == (21, 2)
    written.clear()
    accept(world, "2024-01-07T00:00:00Z")
    (Path(export.folder) / "2024-01-30.ndjson.gz").unlink()
    export = export_month(month=JANUARY, root=tmp_path, as_of=NOW, on_file=note)
    assert (written, export.row_count) == (["2024-01-07.ndjson.gz", "2024-01-30.ndjson.gz"], 3)
    verify_export(export=export, as_of=NOW)


def test_verifying_finds_what_is_not_whole(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z")
    export = exported(JANUARY, tmp_path)
    assert export.verified_at == NOW
    file = Path(export.folder) / "2024-01-05.ndjson.gz"
    whole = file.read_bytes()
    for damage in (whole[:-1], whole.replace(whole[20:21], b"\x00", 1), b""):
        file.write_bytes(damage)
        with pytest.raises(ConflictError, match="2024-01-05"):
            verify_export(export=export, as_of=NOW)
    file.write_bytes(whole)
    verify_export(export=export, as_of=NOW)
    manifest = Path(export.folder) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 1', '"rows": 2'))
    with pytest.raises(ConflictError, match="manifest"):
        verify_export(export=export, as_of=NOW)
    manifest.unlink()
    with pytest.raises(ConflictError, match="missing"):
        verify_export(export=export, as_of=NOW)


def test_dropping_wants_order_age_and_a_verified_export(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z", "2024-02-05T10:15:00Z", "2024-06-01T00:00:00Z")
    make_partitions(as_of=NOW)
    assert refusal(JANUARY, raw_days=0) == "KEPT_FOR_EVER"
    assert refusal(JANUARY, raw_days=200) == "TOO_YOUNG"
    assert refusal(date(2024, 6, 1)) == "TOO_YOUNG"
    assert refusal(FEBRUARY) == "NOT_THE_OLDEST"
    assert refusal(date(2023, 12, 1)) == "NO_SUCH_MONTH"
    assert refusal(JANUARY) == "NOT_EXPORTED"
    export = export_month(month=JANUARY, root=tmp_path, as_of=NOW)
    assert refusal(JANUARY) == "NOT_VERIFIED"
    verify_export(export=export, as_of=NOW)
    accept(world, "2024-01-06T00:00:00Z")
    assert refusal(JANUARY) == "EXPORT_OUTDATED"
    export = exported(JANUARY, tmp_path)
    file = Path(export.folder) / "2024-01-05.ndjson.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert refusal(JANUARY) == "EXPORT_BROKEN"
    file.write_bytes(whole)
    assert MeterEvent.objects.count() == 4
    assert drop(JANUARY) == 2
    assert drop(FEBRUARY, without_export=True) == 1
    assert MeterEvent.objects.count() == 1
    assert Retention.objects.get().raw_gone_until == datetime(2024, 3, 1, tzinfo=UTC)
    assert UsageWindow.objects.count() == 4
    assert EventExport.objects.get().dropped_at == NOW
    # The merchant that looks back furthest decides for all.
    type(world.merchant).objects.filter(pk=world.merchant.pk).update(event_days_back=500)
    assert refusal(MARCH) == "TOO_YOUNG"


def test_what_waits_to_be_merged_holds_its_month(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z")
    make_partitions(as_of=NOW)
    accept_events(
        [{"type": "ai.inference", "source": "s", "subject": "c", "timestamp": "2024-01-06", "data": {"tokens": 1}}],
        organization_id=world.merchant.pk, organization_public_id=world.id, as_of=NOW, is_import=True,
    )  # fmt: skip
    assert refusal(JANUARY, without_export=True) == "NOT_MERGED"


def test_reads_of_dropped_events_say_so_and_whole_hours_stay_exact(world: World, tmp_path: Path) -> None:
    product = world.product()
    metric = world.metric(product)
    unique = world.metric(product, aggregation="UNIQUE_COUNT")
    accept(world, "2024-01-05T10:15:00Z", "2024-01-05T10:45:00Z", "2024-02-05T10:15:00Z")
    make_partitions(as_of=NOW)
    base = f"/v0/billableMetrics/{metric}"
    year = "from=2024-01-01T00:00:00Z&to=2025-01-01T00:00:00Z"
    before = [world.api.get(f"/v0/billableMetrics/{m}/meter?{year}&windowSize=DAY") for m in (metric, unique)]
    drop(JANUARY, without_export=True)
    after = [world.api.get(f"/v0/billableMetrics/{m}/meter?{year}&windowSize=DAY") for m in (metric, unique)]
    assert after == before
    edged = "from=2024-01-05T10:30:00Z&to=2024-02-06T00:00:00Z"
    right = "from=2024-01-01T00:00:00Z&to=2024-01-05T10:30:00Z"
    for path in (
        f"{base}/meter?{edged}", f"{base}/meter?{right}", f"{base}/meter?{right}&windowSize=MINUTE&subject=cus_1",
        f"/v0/billableMetrics/{unique}/meter?{edged}", f"{base}/meter?{edged}&groupBy=subject&subject=cus_1",
        f"{base}/events?{year}",
    ):  # fmt: skip
        answer = world.api.get(path, expect=409)
        assert answer["code"] == "RAW_EVENTS_GONE", path
        assert answer["details"] == {"rawEventsFrom": "2024-02-01T00:00:00Z"}
        assert "2024-02-01T00:00:00Z" in answer["message"]
    kept = "from=2024-02-05T10:10:00Z&to=2024-02-05T10:20:00Z"
    assert world.api.get(f"{base}/meter?{kept}")["totalValue"] == 12
    assert len(world.api.get(f"{base}/events?{kept}")["events"]) == 1
    # The same for those who bill.
    organization = world.merchant.pk
    subject = intern_subjects([(organization, False, "cus_1")])[organization, False, "cus_1"]
    start = datetime(2024, 1, 5, 10, tzinfo=UTC)
    key = UsageWindow.objects.filter(metric__public_id=metric).values_list("metric_id", flat=True)[0]

    def ask(**shift: int) -> Any:
        end = start + timedelta(hours=5)
        return period_usage(
            requests=[UsageRequest(organization, key, [SubjectSpan(subject)], start + timedelta(**shift), end)]
        )

    assert ask() == [21]
    with pytest.raises(RawEventsGoneError):
        ask(minutes=30)


def test_a_month_that_gets_events_again_is_exported_anew(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z", "2024-02-05T10:15:00Z")
    make_partitions(as_of=NOW)
    first = exported(JANUARY, tmp_path)
    drop(JANUARY)
    accept(world, "2024-01-09T00:00:00Z")  # an import
    make_partitions(as_of=NOW)
    second = exported(JANUARY, tmp_path)
    assert (second.number, second.row_count) == (2, 1)
    assert second.folder != first.folder
    assert drop(JANUARY) == 1
    assert MeterEvent.objects.count() == 1


def test_bills_keep_the_events_they_may_still_need(world: World, tmp_path: Path) -> None:
    product = world.product()
    plan = world.plan(product, [world.usage_price(world.metric(product), "0.01")])
    customer = world.customer()
    clock = world.clock("2024-01-15T00:00:00Z")
    subscription = world.subscribe(customer, plan, at="2024-01-15T00:00:00Z", clock=clock)["id"]
    world.send(customer, "2024-01-20T10:15:00Z", tokens=100)
    drain()
    make_partitions(as_of=NOW)
    # The open period touches January.
    assert refusal(JANUARY, without_export=True) == "RAW_EVENTS_IN_USE"
    world.advance(clock, "2024-02-16T00:00:00Z")
    assert world.invoices(subscription)[0]["status"] == "ISSUED"
    # Issued, and late usage of 15 January to 15 February is taken until 21 March.
    day = datetime(2024, 3, 21, tzinfo=UTC)
    assert refusal(JANUARY, as_of=day - timedelta(days=1), raw_days=1, without_export=True) == "RAW_EVENTS_IN_USE"
    # Past that, until an invoice is calculated that would have billed it.
    Invoice.objects.filter(usage_counted_at__isnull=False).update(usage_counted_at=day - timedelta(hours=1))
    assert refusal(JANUARY, as_of=day, raw_days=1, without_export=True) == "RAW_EVENTS_IN_USE"
    Invoice.objects.filter(usage_counted_at__isnull=False).update(usage_counted_at=day)
    assert drop(JANUARY, as_of=day, raw_days=1, without_export=True) == 1
    # What is billed later reads windows and goes on.
    world.advance(clock, "2024-04-16T00:00:00Z")
    assert {invoice["status"] for invoice in world.invoices(subscription)[:3]} <= {"ISSUED", "PAID"}
    make_partitions(as_of=NOW)
    assert stored_months() == months_ahead(NOW)


def test_the_job_drops_what_it_may_and_stops_at_what_it_may_not(world: World, metric: str, tmp_path: Path) -> None:
    accept(world, "2024-01-05T10:15:00Z", "2024-02-05T10:15:00Z", "2024-03-05T10:15:00Z")
    assert drop_old_events(as_of=NOW, raw_days=0) == []
    assert drop_old_events(as_of=NOW, raw_days=RAW_DAYS) == []
    exported(JANUARY, tmp_path)
    exported(MARCH, tmp_path)
    assert drop_old_events(as_of=NOW, raw_days=RAW_DAYS) == [JANUARY]
    exported(FEBRUARY, tmp_path)
    assert drop_old_events(as_of=NOW, raw_days=RAW_DAYS) == [FEBRUARY, MARCH]
    assert drop_old_events(as_of=NOW, raw_days=RAW_DAYS) == []


def test_the_commands_say_what_they_did(
    world: World, metric: str, tmp_path: Path, settings: Any, capsys: Any
) -> None:
    settings.RAW_EVENT_DAYS, settings.EXPORT_DIR = RAW_DAYS, tmp_path
    accept(world, "2024-01-05T10:15:00Z", "2024-02-05T10:15:00Z")
    for bad in (["--month", "January"], ["--before", "2024"]):
        with pytest.raises(CommandError, match="2026-01"):
            call_command("events_export", *bad)
    with pytest.raises(CommandError, match="2024-01 stays: 2024-01 is not exported"):
        call_command("events_drop", "--before", "2024-03")
    call_command("events_export", "--before", "2024-03")
    assert "2024-01: 1 events" in capsys.readouterr().out
    with pytest.raises(CommandError, match="not verified"):
        call_command("events_drop", "--before", "2024-03")
    call_command("events_export", "--before", "2024-03", "--verify")
    call_command("events_drop", "--before", "2024-03")
    assert "2024-02: 1 raw events dropped." in capsys.readouterr().out
    client = Client()
    client.force_login(world.owner)
    listed = client.get(reverse("admin:metering_eventexport_changelist"))
    assert b"2024-02" in listed.content
