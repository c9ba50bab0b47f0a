import csv
import signal
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError
from apps.metering.models.imports import ImportStatus
from apps.metering.services.importing import FIELDS, ImportProgress, RowMapping, count_rows, import_file
from apps.metering.services.merge import drain
from apps.organizations.models import Organization

EXAMPLE = """
example:
  manage.py import_events traffic.csv --organization org_… --set type=ai.inference --set subject=cus_… \\
      --map timestamp=TIMESTAMP --map data.input=ContextTokens --map data.output=GeneratedTokens
"""


class Command(BaseCommand):
    help = "Import meter events from a CSV or NDJSON file. Safe to stop, to resume and to run twice." + EXAMPLE

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, help="id of the merchant, org_…")
        parser.add_argument(
            "--map", action="append", default=[], metavar="FIELD=COLUMN", help="a field from a column"
        )
        parser.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", help="the same for every row"
        )
        parser.add_argument("--key", metavar="COLUMN", help="column of the idempotency key; else made from the row")
        parser.add_argument("--report", type=Path, help="where rejected rows go; default FILE.rejected.csv")
        parser.add_argument("--no-merge", action="store_true", help="leave merging to the workers")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        organization = Organization.objects.filter(public_id=options["organization"], is_merchant=True).first()
        if organization is None:
            raise CommandError(f"There is no merchant {options['organization']}.")
        mapping = RowMapping(
            columns=_pairs("--map", options["map"]),
            constants={"source": f"file:{path.name}", **_pairs("--set", options["set"])},
            key_column=options["key"],
        )
        report: Path = options["report"] or path.with_name(path.name + ".rejected.csv")
        stopped = False

        def stop(*_: Any) -> None:
            nonlocal stopped
            stopped = True

        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        bar = tqdm(total=count_rows(path), unit="row", unit_scale=True, file=sys.stderr, desc=path.name)
        rejected: list[tuple[int, str, str]] = []

        def show(progress: ImportProgress) -> None:
            bar.update(progress.lines_read - bar.n)
            rejected.extend(progress.problems)

        try:
            job = import_file(
                organization=organization,
                path=path,
                mapping=mapping,
                as_of=wall_now(),
                on_progress=show,
                should_stop=lambda: stopped,
            )
        except DomainError as error:
            raise CommandError(error.message) from None
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if rejected:
            _write_report(report, rejected)
        if not options["no_merge"]:
            drain()
        self.stdout.write(
            f"{job.get_status_display()}: {job.accepted} rows accepted, {job.rejected} rejected"
            + (f" (see {report})" if rejected else "")
            + (". Run the same command to go on." if job.status == ImportStatus.STOPPED else ".")
        )


def _pairs(option: str, given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, found, value = text.partition("=")
        if not found or not value or not (name in FIELDS or name.startswith("data.")):
            known = ", ".join(FIELDS)
            raise CommandError(f"{option} {text!r}: write FIELD=…, where FIELD is data.NAME or one of {known}.")
        pairs[name] = value
    return pairs


def _write_report(path: Path, rejected: list[tuple[int, str, str]]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["line", "field", "reason"])
        writer.writerows(rejected)
