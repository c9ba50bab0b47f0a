"""Months of raw events as files: a day a file, packed lines of JSON, and a manifest that says what is in them."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from apps.kernel.errors import ConflictError
from apps.kernel.time import format_instant
from apps.metering.domain.months import bounds
from apps.metering.models import EventExport

FORMAT = "metergate-events/1"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        digest: sum of the first 60 bits of the lines' MD5; the database computes the same over its rows.
        sha256: of the packed file.
    """

    name: str
    rows: int
    digest: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """How many events there are, and a digest over all that they say."""

    rows: int
    digest: int


def export_month(
    *, month: date, root: Path, as_of: datetime, on_file: Callable[[str, bool], None] = lambda name, is_new: None
) -> EventExport:
    """Write a finished month's raw events to `root`; an interrupted or outdated export is completed.

    A day that is exported and has not changed since is left as it is. Files and manifest appear whole or not at all.

    Args:
        on_file: told each file's name and whether it was written now.

    Raises:
        ConflictError: the month is not over.
    """
    start, end = bounds(month)
    if end > as_of:
        raise ConflictError(f"{month:%Y-%m} is not over yet; export it then.", code="MONTH_OPEN")
    number = EventExport.objects.filter(month=month, dropped_at__isnull=False).count() + 1
    folder = root / f"events-{month:%Y-%m}.{number}"
    folder.mkdir(parents=True, exist_ok=True)
    known = _known_files(folder)
    files: list[ExportedFile] = []
    day = start
    while day < end:
        name = f"{day:%Y-%m-%d}.ndjson.gz"
        entry = known.get(name)
        is_new = entry is None or not _is_current(folder, entry, day)
        if entry is None or is_new:
            entry = _write_day(folder / name, day)
            known[name] = entry
            _write(folder / f"{MANIFEST}.progress", _json({"files": [asdict(file) for file in known.values()]}))
        files.append(entry)
        on_file(name, is_new)
        day += timedelta(days=1)
    manifest = _json(
        {
            "format": FORMAT,
            "interval": {"from": format_instant(start), "to": format_instant(end)},
            "exportedAt": format_instant(as_of),
            "rows": sum(file.rows for file in files),
            "digest": sum(file.digest for file in files),
            "files": [asdict(file) for file in files],
        }
    )
    _write(folder / MANIFEST, manifest)
    export, _ = EventExport.objects.update_or_create(
        month=month,
        number=number,
        defaults={
            "folder": str(folder),
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "row_count": sum(file.rows for file in files),
            "digest": sum(file.digest for file in files),
            "exported_at": as_of,
            "verified_at": None,
        },
    )
    return export


def verify_export(*, export: EventExport, as_of: datetime) -> EventExport:
    """Read an export's files back and note that they are whole.

    Raises:
        ConflictError: naming the file that is missing, changed, or does not hold what the manifest says.
    """
    folder = Path(export.folder)
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError:
        raise _broken(f"{folder / MANIFEST} is missing") from None
    if hashlib.sha256(text).hexdigest() != export.manifest_sha256:
        raise _broken(f"{folder / MANIFEST} is not the one that was written")
    rows = digest = 0
    for described in json.loads(text)["files"]:
        file = ExportedFile(**described)
        if _sha256(folder / file.name) != file.sha256:
            raise _broken(f"{folder / file.name} is missing or changed")
        found = _contents_of(_lines_of(folder / file.name))
        if found != Contents(file.rows, file.digest):
            raise _broken(f"{folder / file.name} does not hold the events that the manifest says")
        rows, digest = rows + found.rows, digest + found.digest
    if (rows, digest) != (export.row_count, int(export.digest)):
        raise _broken(f"{folder} does not hold the events that were exported")
    export.verified_at = as_of
    export.save(update_fields=["verified_at"])
    return export


def stored_contents(start: datetime, end: datetime) -> Contents:
    """Give what the database holds of an interval, in the terms of a manifest."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(('x' || left(md5(line), 15))::bit(60)::bigint), 0)"
            f" FROM ({LINES}) AS exported(line)",
            [start, end],
        )
        rows, digest = cursor.fetchone()
    return Contents(int(rows), int(digest))


def _is_current(folder: Path, entry: ExportedFile, day: datetime) -> bool:
    is_whole = _sha256(folder / entry.name) == entry.sha256
    return is_whole and stored_contents(day, day + timedelta(days=1)) == Contents(entry.rows, entry.digest)


def _known_files(folder: Path) -> dict[str, ExportedFile]:
    """Give what an earlier run wrote, by file name."""
    for name in (f"{MANIFEST}.progress", MANIFEST):
        try:
            described = json.loads((folder / name).read_bytes())["files"]
            return {file["name"]: ExportedFile(**file) for file in described}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def _write_day(path: Path, day: datetime) -> ExportedFile:
    part = path.with_name(path.name + ".part")
    rows = digest = 0
    with part.open("wb") as raw:
        # Without a name and a time of its own, so that the same events make the same file.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            for line in _lines_between(day, day + timedelta(days=1)):
                text = line.encode()
                packed.write(text + b"\n")
                rows, digest = rows + 1, digest + _hash(text)
        raw.flush()
        os.fsync(raw.fileno())
    part.replace(path)
    return ExportedFile(path.name, rows, digest, path.stat().st_size, _sha256(path))


def _lines_between(start: datetime, end: datetime) -> Iterator[str]:
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(LINES, [start, end])
        for (line,) in cursor:
            yield line


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as packed:
            for line in packed:
                yield line.rstrip(b"\n")
    except (OSError, EOFError):
        raise _broken(f"{path} cannot be unpacked") from None


def _contents_of(lines: Iterator[bytes]) -> Contents:
    rows = digest = 0
    for line in lines:
        rows, digest = rows + 1, digest + _hash(line)
    return Contents(rows, digest)


def _hash(line: bytes) -> int:
    return int(hashlib.md5(line, usedforsecurity=False).hexdigest()[:15], 16)


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
    except OSError:
        return ""
    return hashed.hexdigest()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _broken(what: str) -> ConflictError:
    return ConflictError(f"{what}; export the month again.", code="EXPORT_BROKEN")


# A line is made by the database alone, so that it can hash its rows to the same digest later. The names are those of
# the API, and the line can be imported again.
LINES = """
SELECT row_to_json(exported)::text FROM (
    SELECT event.public_id AS id, organization.public_id AS namespace, event.event_type AS type, event.source,
           CASE WHEN NOT subject.is_external THEN subject.value END AS subject,
           CASE WHEN subject.is_external THEN subject.value END AS "externalSubject",
           event.external_id AS "externalId", event.occurred_at AS timestamp, event.accepted_at AS "acceptedAt",
           event.idempotency_key AS "idempotencyKey", event.data, event.metrics, event.dimensions, event.quantities,
           event.hashes
    FROM metering_event AS event
    LEFT JOIN organizations_organization AS organization ON organization.id = event.organization_id
    LEFT JOIN metering_subject AS subject ON subject.id = event.subject_id
    WHERE event.occurred_at >= %s AND event.occurred_at < %s
    ORDER BY event.occurred_at, event.public_id
) AS exported
"""
