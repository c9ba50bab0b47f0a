"""Files of events: rows are mapped, staged in batches, and the position is kept with them."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from django.db import transaction

from apps.kernel.errors import InvalidError
from apps.metering.models import ImportJob
from apps.metering.models.imports import ImportStatus
from apps.metering.services.staging import Verdicts, accept_events
from apps.organizations.models import Organization

BATCH = 5_000
FIELDS = ("type", "source", "subject", "externalSubject", "timestamp", "idempotencyKey", "externalId")


@dataclass(frozen=True, slots=True)
class RowMapping:
    """How a row becomes an event.

    Attributes:
        columns: event field, or `data.name` → column of the file.
        constants: event field, or `data.name` → the same value for every row.
        key_column: column that holds the idempotency key; None makes one from the row's content.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    key_column: str | None = None

    def event_of(self, row: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Build the wire form of a row's event."""
        event: dict[str, Any] = {"data": {}}
        values = {**self.constants, **{name: row.get(column) for name, column in self.columns.items()}}
        for name, value in values.items():
            if name.startswith("data."):
                event["data"][name.removeprefix("data.")] = value
            else:
                event[name] = value
        event.setdefault("idempotencyKey", key)
        return event


@dataclass(slots=True)
class ImportProgress:
    """Where an import stands."""

    lines_read: int = 0
    accepted: int = 0
    rejected: int = 0
    bytes_read: int = 0
    problems: list[tuple[int, str, str]] = field(default_factory=list)


def import_file(
    *,
    organization: Organization,
    path: Path,
    mapping: RowMapping,
    as_of: datetime,
    on_progress: Callable[[ImportProgress], None],
    should_stop: Callable[[], bool],
) -> ImportJob:
    """Stage the events of a CSV or NDJSON file; what was staged before is skipped by position and by key.

    Each batch commits together with its position, so that an import that was stopped, or killed, goes on behind its
    last batch. Running it again counts nothing twice: a row's key is made from its content and from how many equal
    rows stand before it in the file.

    Args:
        on_progress: called after each batch; `problems` holds those of the batch as (line, field, message).
        should_stop: asked between batches.
    """
    fingerprint = _fingerprint(path, mapping)
    job, _ = ImportJob.objects.get_or_create(
        organization=organization, fingerprint=fingerprint, defaults={"path": str(path)[:1000]}
    )
    progress = ImportProgress(job.lines_read, job.accepted, job.rejected)
    if job.status == ImportStatus.DONE:
        return job
    job.status = ImportStatus.RUNNING
    seen: Counter[bytes] = Counter()
    batch: list[tuple[int, dict[str, Any]]] = []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for line, row in _rows(path, lines):
            key = _key(row, mapping, seen)
            if line <= job.lines_read:
                continue
            batch.append((line, mapping.event_of(row, key)))
            if len(batch) == BATCH:
                _take(organization, batch, job, progress, as_of)
                on_progress(progress)
                batch = []
                if should_stop():
                    job.status = ImportStatus.STOPPED
                    job.save()
                    return job
    if batch:
        _take(organization, batch, job, progress, as_of)
        on_progress(progress)
    job.status = ImportStatus.DONE
    job.save()
    return job


def count_rows(path: Path) -> int:
    """Count the lines of a file, for a progress bar."""
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


@transaction.atomic
def _take(
    organization: Organization,
    batch: Sequence[tuple[int, dict[str, Any]]],
    job: ImportJob,
    progress: ImportProgress,
    as_of: datetime,
) -> None:
    verdicts: Verdicts = accept_events(
        [event for _, event in batch],
        organization_id=organization.pk,
        organization_public_id=organization.public_id,
        as_of=as_of,
        is_import=True,
    )
    refused = {rejection.index for rejection in verdicts.rejected}
    progress.lines_read = batch[-1][0]
    progress.accepted += len(verdicts.accepted)
    progress.rejected += len(refused)
    progress.problems = [
        (batch[rejection.index][0], rejection.problem.field, rejection.problem.message)
        for rejection in verdicts.rejected
    ]
    job.lines_read, job.accepted, job.rejected = progress.lines_read, progress.accepted, progress.rejected
    job.save()


def _rows(path: Path, lines: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line number, row); a line that is no JSON object becomes an empty row, which is refused with reasons."""
    if path.suffix.lower() in {".ndjson", ".jsonl", ".json"}:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError:
                row = {}
            yield number, _flat(row) if isinstance(row, dict) else {}
        return
    reader = csv.DictReader(lines)
    if not reader.fieldnames:
        raise InvalidError(f"{path.name} has no header line.")
    for row in reader:
        yield reader.line_num, row


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested objects as `outer.inner` columns."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _key(row: Mapping[str, Any], mapping: RowMapping, seen: Counter[bytes]) -> str:
    """Give a row's key: its own, or a hash of its content and the mapping and how often it stood before."""
    if mapping.key_column is not None:
        return str(row.get(mapping.key_column) or "")
    # Not the source: by default it is the file's name, and a renamed file holds the same rows.
    constants = {name: value for name, value in mapping.constants.items() if name != "source"}
    content = json.dumps([row, dict(mapping.columns), constants], sort_keys=True, default=str).encode()
    digest = hashlib.blake2b(content, digest_size=16).digest()
    seen[digest] += 1
    return f"row-{digest.hex()}-{seen[digest]}"


def _fingerprint(path: Path, mapping: RowMapping) -> str:
    hashed = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hashed.update(chunk)
    hashed.update(repr((sorted(mapping.columns.items()), sorted(mapping.constants.items()))).encode())
    hashed.update(repr(mapping.key_column).encode())
    return hashed.hexdigest()
