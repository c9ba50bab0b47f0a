"""What `manage.py doctor` looks at, in order."""

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Exists, F, OuterRef, Q
from django_celery_beat.models import PeriodicTask
from typst import TypstError

from apps.customers.models import Customer, ExternalIdLink
from apps.documents.services.fonts import MissingFontsError
from apps.documents.services.sample import sample_pdf, unshown_names
from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.clock import wall_now
from apps.kernel.doctor import Check, Finding, ok, problem, warning
from apps.metering.domain.months import bounds
from apps.metering.models import DeadLetter, EventExport, ParkedEvent
from apps.metering.selectors.condition import staging_at
from apps.metering.services.dropping import droppable_until
from apps.metering.services.partitions import months_ahead, months_without_partition, stored_months
from apps.subscriptions.models import ClockStatus, Subscription, TestClock
from config.env import DEVELOPMENT_KEY
from config.health import STALE, heartbeat_age
from config.schedule import SCHEDULE

OLDEST_POSTGRES = 150_000
# Merging takes a fraction of a second; the sweep comes every second.
SLOW, STUCK = timedelta(seconds=10), timedelta(minutes=1)
FULL = 0.8
LONG = timedelta(minutes=10)
GIB = 1 << 30


def _settings(as_of: datetime) -> Finding:
    address = urlsplit(settings.BASE_URL)
    is_local = address.hostname in {"127.0.0.1", "localhost", "::1"}
    if not is_local and settings.SECRET_KEY == DEVELOPMENT_KEY:
        return problem(
            "SECRET_KEY is the development key and the server is reachable.", "Set one: `openssl rand -hex 32`."
        )
    if not is_local and settings.DEBUG:
        return problem("DEBUG is on and the server is reachable.", "Unset DEBUG; error pages show settings.")
    if not is_local and address.scheme != "https":
        return warning(f"BASE_URL is {settings.BASE_URL}.", "Put TLS in front and set BASE_URL to its https address.")
    return ok(
        f"{settings.BASE_URL}, raw events {_days(settings.RAW_EVENT_DAYS)}, keys {_days(settings.EVENT_KEY_DAYS)}"
    )


def _disk(as_of: datetime) -> Finding:
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    total, _, free = shutil.disk_usage(settings.VAR_DIR)
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free at {settings.VAR_DIR}"
    fix = "Free some, or export and drop old raw events (`manage.py events_export`, `events_drop`)."
    if free < GIB or free < total * 0.03:
        return problem(text, fix)
    return warning(text, fix) if free < 5 * GIB or free < total * 0.1 else ok(text)


def _database(as_of: datetime) -> Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            number, version = cursor.fetchone()
    except OperationalError as error:
        return problem(
            f"does not answer: {str(error).strip()}",
            "Start it, or mend DATABASE_URL. Meanwhile events are answered 503 and are to be sent again.",
        )
    if number < OLDEST_POSTGRES:
        return problem(f"PostgreSQL {version}", "Upgrade to 15 or newer.")
    return ok(f"PostgreSQL {version}")


def _migrations(as_of: datetime) -> Finding:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3])
        return problem(f"{len(plan)} not applied: {names}", "Run `manage.py migrate`.")
    return ok("all applied")


def _clocks_agree(as_of: datetime) -> Finding:
    before = wall_now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there = cursor.fetchone()[0]
    here = before + (wall_now() - before) / 2
    skew = abs((there - here).total_seconds())
    text = f"database and this process are {skew:.3f} s apart"
    fix = "Let both machines follow the same time servers (chrony, systemd-timesyncd)."
    if skew > 30:
        return problem(text, fix)
    return warning(text, fix) if skew > 2 else ok(text)


def _connections(as_of: datetime) -> Finding:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity"
            " WHERE backend_type = 'client backend'"
        )
        used, most = cursor.fetchone()
    text = f"{used} of {most} connections in use"
    if used > most * FULL:
        return warning(text, "Raise max_connections, or run fewer web threads and workers.")
    return ok(text)


def _transactions(as_of: datetime) -> Finding:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, clock_timestamp() - xact_start FROM pg_stat_activity WHERE xact_start IS NOT NULL"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1"
        )
        row = cursor.fetchone()
    if row is not None and row[1] > LONG:
        return warning(
            f"process {row[0]} of the database is in one transaction for {_span(row[1])}",
            f"Staging cannot be vacuumed meanwhile. See what it is; `SELECT pg_terminate_backend({row[0]})` ends it.",
        )
    return ok("none is long")


def _broker(as_of: datetime) -> Finding:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
    try:
        version = client.info("server")["redis_version"]
        waiting = {name: int(client.llen(name)) for name in ("default", "merge")}
    except redis.RedisError as error:
        return problem(
            f"does not answer: {error}",
            "Start it again, or mend REDIS_URL. Events are still taken, and counted when it is back; none is lost.",
        )
    finally:
        client.close()
    text = f"answers (protocol of Redis {version}); " + ", ".join(f"{n} in {name}" for name, n in waiting.items())
    if max(waiting.values()) > 1_000:
        return warning(text, "Jobs come faster than they are done: start more workers, or look at their logs.")
    cache.set("doctor", "well", timeout=10)
    if cache.get("doctor") != "well":
        return problem("it takes what is written and does not give it back", "Look at its memory limit and policy.")
    return ok(text)


def _heartbeat(name: str, command: str) -> Check:
    def run(as_of: datetime) -> Finding:
        age = heartbeat_age(name)
        fix = f"Start it: `{command}`; its log says why it stopped."
        if age is None:
            return problem("no heartbeat yet", fix)
        return ok(f"heartbeat {_span(age)} ago") if age < STALE else problem(f"silent for {_span(age)}", fix)

    return Check(name, run, needs=("broker",))


def _schedule(as_of: datetime) -> Finding:
    rows = dict(PeriodicTask.objects.filter(name__in=SCHEDULE).values_list("name", "enabled"))
    if missing := sorted(set(SCHEDULE) - rows.keys()):
        return problem(f"not scheduled: {', '.join(missing)}", "Restart beat; it writes its schedule when it starts.")
    if disabled := sorted(name for name, enabled in rows.items() if not enabled):
        return warning(f"switched off: {', '.join(disabled)}", "Switch them on in the admin under Schedule.")
    return ok(f"{len(rows)} jobs")


def _merging(as_of: datetime) -> Finding:
    staging = staging_at(as_of)
    text = f"{staging.events} events wait, the oldest for {_span(staging.lag)}"
    fix = "Look at the log of the worker of queue `merge`; start more of them when it is only slow."
    if staging.lag > STUCK:
        return problem(text, fix)
    return warning(text, fix) if staging.lag > SLOW else ok(text)


def _dead_letters(as_of: datetime) -> Finding:
    count = DeadLetter.objects.filter(resolved_at__isnull=True).count()
    if count:
        return warning(f"{count} open", "Read their reasons in the admin under Dead letters, and mark them resolved.")
    return ok("none")


def _parked(as_of: datetime) -> Finding:
    waiting = ParkedEvent.objects.filter(state="parked")
    count = waiting.count()
    if ParkedEvent.objects.filter(state="parked", reason="too_early", occurred_at__lt=as_of - LONG).exists():
        return problem("events whose time has come are still parked", "See that beat runs metering.release_due.")
    if count:
        return warning(f"{count} events wait for a decision", "Release or discard them under Parked events.")
    return ok("none")


def _partitions(as_of: datetime) -> Finding:
    fix = "See that beat runs metering.make_partitions; the worker's log says what held it up."
    if missing := sorted(set(months_ahead(as_of)) - set(stored_months())):
        text = f"no partition for {', '.join(f'{month:%Y-%m}' for month in missing)}"
        return problem(text, fix) if missing[0] <= as_of.date() else warning(text, fix)
    if strays := months_without_partition():
        return warning(f"{len(strays)} month(s) of events have no partition of their own", fix)
    return ok(f"up to {max(stored_months()):%Y-%m}")


def _exports(as_of: datetime) -> Finding:
    current = EventExport.objects.filter(dropped_at__isnull=True)
    if unverified := [str(export) for export in current.filter(verified_at__isnull=True).order_by("month")]:
        return warning(
            f"not verified: {', '.join(unverified)}", f"`manage.py events_export --month {unverified[0]} --verify`"
        )
    until = droppable_until(as_of=as_of, raw_days=settings.RAW_EVENT_DAYS)
    exported = set(current.values_list("month", flat=True))
    due = [month for month in stored_months() if until is not None and bounds(month)[1] <= until]
    if missing := [f"{month:%Y-%m}" for month in due if month not in exported]:
        return warning(
            f"old enough to drop and not exported: {', '.join(missing)}",
            f"`manage.py events_export --month {missing[0]}`, then the same with --verify.",
        )
    if due:
        return warning(
            f"{due[0]:%Y-%m} is exported and stays",
            "The job drops it when no bill needs it; `manage.py events_drop` says what holds it.",
        )
    return ok(f"{len(exported)} month(s) exported and verified, none is due")


def _links(as_of: datetime) -> Finding:
    linked = ExternalIdLink.objects.filter(
        customer=OuterRef("pk"), external_id=OuterRef("external_id"), valid__upper_inf=True
    )
    without = Customer.objects.filter(deleted_at__isnull=True, external_id__isnull=False).filter(~Exists(linked))
    stale = ExternalIdLink.objects.filter(valid__upper_inf=True).filter(
        Q(customer__deleted_at__isnull=False)
        | Q(customer__external_id__isnull=True)
        | ~Q(customer__external_id=F("external_id"))
    )
    count = without.count() + stale.count()
    if count:
        return problem(
            f"{count} customers and their own ids over time disagree",
            "Somebody wrote customers past the services; set their external ids again in the admin.",
        )
    return ok("agree with the customers")


def _lifecycle(as_of: datetime) -> Finding:
    parked = Subscription.objects.exclude(parked_reason="").count()
    if parked:
        return warning(f"{parked} subscription(s) held back", "Read the reason on each, mend it, and press Resume.")
    failed = TestClock.objects.filter(status=ClockStatus.FAILED, deleted_at__isnull=True).count()
    if failed:
        return warning(
            f"{failed} test clock(s) failed to advance", "Read the reason on the clock and advance it again."
        )
    late = Subscription.objects.filter(
        test_clock__isnull=True, next_action_at__lt=as_of - LONG, parked_reason=""
    ).count()
    if late:
        return problem(f"{late} subscription(s) are overdue", "See that beat runs `lifecycle` and a worker takes it.")
    return ok("nothing is overdue")


def _invoices(as_of: datetime) -> Finding:
    failed = Invoice.objects.filter(status=InvoiceStatus.FAILED).count()
    if failed:
        return warning(f"{failed} could not be calculated", "Read the reason on each, mend it, and press Retry.")
    return ok("none failed")


def _documents(as_of: datetime) -> Finding:
    fix = "Run `make setup`: the fonts and the typesetter come as packages."
    try:
        unshown = sample_pdf()
    except (MissingFontsError, TypstError) as error:
        return problem(f"no document can be made: {error}", fix)
    if unshown:
        return warning(f"no font has {' '.join(sorted(unshown))}", fix)
    if names := unshown_names():
        return warning(
            f"documents write Unicode numbers for signs in {len(names)} name(s), such as {names[0]}",
            "Put a font that has them into a folder and set DOCUMENT_FONTS to it.",
        )
    return ok("a sample is set, and every name can be shown")


def _days(days: int) -> str:
    return f"{days} days" if days else "for ever"


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


HERE = ("database", "migrations")

CHECKS: Sequence[Check] = (
    Check("settings", _settings),
    Check("disk", _disk),
    Check("database", _database),
    Check("migrations", _migrations, needs=("database",)),
    Check("clocks", _clocks_agree, needs=("database",)),
    Check("connections", _connections, needs=("database",)),
    Check("long transactions", _transactions, needs=("database",)),
    Check("broker", _broker),
    _heartbeat("beat", "celery -A config.celery beat"),
    _heartbeat("worker", "celery -A config.celery worker -Q default"),
    _heartbeat("merger", "celery -A config.celery worker -Q merge"),
    Check("schedule", _schedule, needs=HERE),
    Check("merging", _merging, needs=HERE),
    Check("dead letters", _dead_letters, needs=HERE),
    Check("parked events", _parked, needs=HERE),
    Check("partitions", _partitions, needs=HERE),
    Check("exports", _exports, needs=HERE),
    Check("own ids", _links, needs=HERE),
    Check("lifecycle", _lifecycle, needs=HERE),
    Check("invoices", _invoices, needs=HERE),
    Check("documents", _documents, needs=HERE),
)
