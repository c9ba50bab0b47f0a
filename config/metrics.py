"""Figures for Prometheus: what comes in, what waits, what is stuck.

They are read when asked for, from the database and the broker, so every process and machine gives the same answer.
"""

from collections.abc import Iterator
from hmac import compare_digest

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from apps.kernel.clock import wall_now
from apps.metering.eventlog import LogUnavailableError, event_log
from apps.metering.models import DeadLetter
from apps.metering.selectors.flow import merged_events, taken_events, waiting_events
from config.health import CHECKS, outcome

LOOPBACK = {"127.0.0.1", "::1"}
# What web processes count, and how it is named here.
TAKEN = {
    "accepted": "Events answered with 202.",
    "parked": "Events of odd timing put aside; accepted, too.",
    "rejected": "Events refused for what they say.",
    "repeated_in_batch": "Events whose key stood earlier in the same batch.",
    "refused_rate": "Events refused because their key sent too many.",
    "refused_backlog": "Events refused because too many waited.",
}


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer callers on this machine, or those who know the token."""
    if not _may_read(request):
        body = {"message": "Send METRICS_TOKEN as `Authorization: Bearer …`.", "code": "UNAUTHORIZED"}
        return JsonResponse(body, status=401)
    registry = CollectorRegistry()
    registry.register(_Figures())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "").encode()
        return compare_digest(given, f"Bearer {settings.METRICS_TOKEN}".encode())
    # A proxy on this machine speaks for somebody else.
    return request.META.get("REMOTE_ADDR") in LOOPBACK and "X-Forwarded-For" not in request.headers


class _Figures:
    def collect(self) -> Iterator[Metric]:
        taken = taken_events()
        for kind, text in TAKEN.items():
            yield CounterMetricFamily(f"metergate_events_{kind}", text, value=taken.get(kind, 0))
        merged = merged_events()
        yield CounterMetricFamily("metergate_events_merged", "Events counted in windows.", value=merged.inserted)
        yield CounterMetricFamily("metergate_events_duplicate", "Events whose key was known.", value=merged.repeated)
        yield CounterMetricFamily(
            "metergate_events_conflict", "Events whose key was known with other content.", value=merged.conflicts
        )
        yield CounterMetricFamily(
            "metergate_merge_seconds",
            "Time spent merging; merged / this is the drain rate.",
            value=float(merged.busy_seconds),
        )
        waiting = waiting_events()
        yield GaugeMetricFamily("metergate_staged_events", "Accepted and not merged yet.", value=waiting.count)
        yield GaugeMetricFamily(
            "metergate_merge_lag_seconds", "Age of the oldest event not merged.", value=float(waiting.lag_seconds)
        )
        yield from _log_backlog()
        if merged.last_at is not None:
            age = (wall_now() - merged.last_at).total_seconds()
            yield GaugeMetricFamily("metergate_window_age_seconds", "Since windows changed last.", value=max(age, 0))
        letters = DeadLetter.objects.filter(resolved_at__isnull=True).count()
        yield GaugeMetricFamily("metergate_dead_letters_open", "Dead letters nobody dealt with yet.", value=letters)
        up = GaugeMetricFamily("metergate_up", "1 where a part of the system answers.", labels=["part"])
        for name, check in CHECKS.items():
            up.add_metric([name], int(outcome(check) == "ok"))
        yield up


def _log_backlog() -> Iterator[Metric]:
    """Give how many blocks of each shard of an event log are not in staging yet; nothing when it cannot be asked."""
    log = event_log()
    backlog = GaugeMetricFamily("metergate_event_log_blocks", "Blocks not staged yet.", labels=["shard"])
    try:
        for shard in log.shards:
            # In this order, so that it is never negative.
            staged = log.acknowledged_up_to(shard)
            backlog.add_metric([str(shard)], log.end_of(shard) - staged)
    except LogUnavailableError:
        return
    if log.shards:
        yield backlog
