from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.metering.domain.months import parse_month
from apps.metering.services.dropping import drop_month
from apps.metering.services.partitions import make_partitions, stored_months


class Command(BaseCommand):
    help = (
        "Drop the raw events of months that are older than RAW_EVENT_DAYS, settled, exported and verified; usage by "
        "hour stays. The oldest month goes first, and the first that has to stay ends the run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--before", required=True, help="drop the months before this one, such as 2026-01")
        parser.add_argument(
            "--without-export", action="store_true", help="drop them although no verified export holds them"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            before = parse_month(options["before"])
        except ValueError:
            raise CommandError("Write a month as 2026-01.") from None
        now = wall_now()
        make_partitions(as_of=now)
        months = [month for month in stored_months() if month < before]
        for month in months:
            try:
                dropped = drop_month(
                    month=month,
                    as_of=now,
                    raw_days=settings.RAW_EVENT_DAYS,
                    without_export=options["without_export"],
                )
            except DomainError as error:
                raise CommandError(f"{month:%Y-%m} stays: {error.message}") from None
            except OperationalError as error:
                raise CommandError(f"{month:%Y-%m} is in use; try again. ({error})") from None
            self.stdout.write(f"{month:%Y-%m}: {dropped} raw events dropped.")
        if not months:
            self.stdout.write(f"No raw events from before {before:%Y-%m} are stored.")
