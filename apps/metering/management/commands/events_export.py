from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.metering.domain.months import bounds, month_of, parse_month
from apps.metering.models import EventExport
from apps.metering.services.exporting import export_month, verify_export
from apps.metering.services.partitions import months_without_partition, stored_months


class Command(BaseCommand):
    help = (
        "Write finished months of raw events as packed lines of JSON with a manifest, or verify what was written. "
        "Safe to stop and to run again: days that have not changed are left as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--month", help="one month, such as 2026-01")
        which.add_argument("--before", help="every stored month before this one")
        parser.add_argument("--to", type=Path, help="folder of the exports; EXPORT_DIR by default")
        parser.add_argument("--verify", action="store_true", help="read the files of an export back, write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        for month in self._months(options):
            try:
                if options["verify"]:
                    self._verify(month)
                else:
                    self._export(month, options["to"] or settings.EXPORT_DIR)
            except DomainError as error:
                raise CommandError(error.message) from None

    def _export(self, month: date, root: Path) -> None:
        written = 0

        def count(name: str, is_new: bool) -> None:
            nonlocal written
            written += is_new

        export = export_month(month=month, root=root, as_of=wall_now(), on_file=count)
        self.stdout.write(
            f"{export}: {export.row_count} events in {export.folder}, {written} file(s) written."
            f" Verify them with --month {export} --verify."
        )

    def _verify(self, month: date) -> None:
        export = EventExport.objects.filter(month=month).order_by("-number").first()
        if export is None:
            raise CommandError(f"{month:%Y-%m} is not exported.")
        verify_export(export=export, as_of=wall_now())
        self.stdout.write(f"{export}: {export.row_count} events, every file is whole.")

    def _months(self, options: dict[str, Any]) -> list[date]:
        try:
            if options["month"]:
                return [parse_month(options["month"])]
            before = parse_month(options["before"])
        except ValueError:
            raise CommandError("Write a month as 2026-01.") from None
        stored = {*stored_months(), *months_without_partition()}
        if options["verify"]:
            stored = set(EventExport.objects.filter(dropped_at__isnull=True).values_list("month", flat=True))
        now = month_of(wall_now())
        return sorted(month for month in stored if month < before and bounds(month)[1] <= bounds(now)[0])
