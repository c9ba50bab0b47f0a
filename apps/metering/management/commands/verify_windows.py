import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.catalog.models import BillableMetric
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant, parse_instant
from apps.metering.models import Dimension, Subject
from apps.metering.selectors.differences import Difference, WindowState
from apps.metering.services.verifying import Extent, count_subjects, verify_windows
from apps.organizations.models import Organization


class Command(BaseCommand):
    help = (
        "Compare usage windows with the events they are made of, and name every difference. Ends with 1 when there "
        "are differences that were not repaired. Safe beside running merges."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", metavar="org_…", help="only this merchant; else all")
        parser.add_argument("--metric", metavar="bm_…", help="only this billable metric")
        parser.add_argument("--from", dest="start", metavar="INSTANT", help="only windows from this moment on")
        parser.add_argument("--to", dest="end", metavar="INSTANT", help="only windows before this moment")
        parser.add_argument("--repair", action="store_true", help="rebuild windows that differ from their events")

    def handle(self, *args: Any, **options: Any) -> None:
        is_repairing: bool = options["repair"]
        found = left = 0
        for extent in _extents(options):
            found += self._check(extent, is_repairing)
            if is_repairing:
                left += sum(1 for _ in verify_windows(extent, is_repairing=False, on_progress=lambda done: None))
        if not found:
            self.stdout.write("Every window is what its events say.")
            return
        self.stdout.write(
            f"{found} window(s) differ from their events" + (f", {found - left} repaired." if is_repairing else ".")
        )
        if not is_repairing or left:
            if left:
                self.stdout.write(
                    f"{left} window(s) still differ, such as those of months whose events were dropped."
                )
            else:
                self.stdout.write("Run with --repair to rebuild them.")
            sys.exit(1)

    def _check(self, extent: Extent, is_repairing: bool) -> int:
        found = 0
        with tqdm(total=count_subjects(extent), unit="subject", file=sys.stderr, leave=False) as bar:

            def show(done: int) -> None:
                bar.update(done)

            for difference in verify_windows(extent, is_repairing=is_repairing, on_progress=show):
                found += 1
                self.stdout.write(_described(difference))
        return found


def _extents(options: dict[str, Any]) -> Iterator[Extent]:
    start, end = _moment("--from", options["start"]), _moment("--to", options["end"])
    if start is not None and end is not None and start >= end:
        raise CommandError("--to must be after --from.")
    merchants = Organization.objects.filter(is_merchant=True).order_by("pk")
    metric = None
    if options["metric"]:
        metric = BillableMetric.objects.filter(public_id=options["metric"]).first()
        if metric is None:
            raise CommandError(f"There is no billable metric {options['metric']}.")
        merchants = merchants.filter(pk=metric.organization_id)
    if options["organization"]:
        merchants = merchants.filter(public_id=options["organization"])
    ids = list(merchants.values_list("pk", flat=True))
    if not ids:
        raise CommandError("There is no such merchant, or the metric is not its own.")
    for organization_id in ids:
        yield Extent(organization_id, None if metric is None else metric.pk, start, end)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ValueError:
        raise CommandError(f"{option} {text!r}: give an ISO 8601 instant, such as 2026-01-31T12:00:00Z.") from None


def _described(difference: Difference) -> str:
    metric = BillableMetric.objects.get(pk=difference.metric_id)
    subject = Subject.objects.get(pk=difference.subject_id)
    group = ""
    if difference.dimension_id is not None:
        group = f" [{Dimension.objects.filter(pk=difference.dimension_id).first() or difference.dimension_id}]"
    where = f"{metric.public_id} {subject.value} {format_instant(difference.hour)}{group}"
    return f"{where}: stored {_state(difference.stored)}, events say {_state(difference.computed)}"


def _state(state: WindowState | None) -> str:
    if state is None:
        return "nothing"
    text = f"{state.count} event(s) with sum {format_decimal(state.sum)}"
    if state.min is not None and state.max is not None:
        text += f", {format_decimal(state.min)} to {format_decimal(state.max)}"
    if state.latest is not None:
        text += f", latest {format_decimal(state.latest)}"
    return text + (f", values {state.values_digest[:8]}" if state.values_digest else "")
