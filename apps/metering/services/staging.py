"""Accepted means committed: drafts become staged rows in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from apps.metering.domain.drafts import EventDraft, Problem, Targets
from apps.metering.domain.keys import key_hash
from apps.metering.eventlog import STAGING, Block, event_log
from apps.metering.models import DeadLetter
from apps.metering.selectors.timing import EVER, accepted_interval
from apps.metering.services.drafting import Drafter
from apps.metering.services.interning import intern_dimensions, subject_numbers
from apps.metering.services.parking import Parked, odd_timing, park

# Each has a partition of the staging table; as many merges as there are can run at once.
BUCKETS = 4
COLUMNS = (
    "bucket, organization_id, key_hash, content_hash, public_id, idempotency_key, event_type, source, subject_id,"
    " external_id, occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes"
)

NULL = "\\N"
BUCKET_OF = {digit: str(int(digit, 16) % BUCKETS) for digit in "0123456789abcdef"}

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the index-th event of a batch was not taken."""

    index: int
    idempotency_key: str
    problem: Problem


@dataclass(slots=True)
class Verdicts:
    """What became of a batch.

    Attributes:
        accepted: drafts that are committed, with their index, in order.
        repeated: events of a key that stood earlier in the very batch, with the same content.
        parked: drafts of odd timing, by key and content; committed too, and not counted until they are released.
        rejected: one entry per problem.
    """

    accepted: list[tuple[int, EventDraft]] = field(default_factory=list)
    repeated: int = 0
    parked: dict[tuple[str, str], Parked] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)


def accept_events(
    raw_events: Sequence[Any],
    *,
    organization_id: int,
    organization_public_id: str,
    as_of: datetime,
    is_import: bool = False,
) -> Verdicts:
    """Check events and commit the good ones, to staging or aside; n events in, one verdict each.

    Args:
        raw_events: `WireEvent`s, or decoded JSON values.
        organization_id: the merchant.
        organization_public_id: its id on the wire.
        as_of: moment of acceptance, and the time of events that name none.
        is_import: an operator vouches for them, so that they may tell of any time.
    """
    verdicts = check_events(
        raw_events,
        organization_id=organization_id,
        organization_public_id=organization_public_id,
        as_of=as_of,
        is_import=is_import,
    )
    drafts = [draft for _, draft in verdicts.accepted]
    stage(drafts, organization_id=organization_id, as_of=as_of, parked=list(verdicts.parked.values()))
    return verdicts


def check_events(
    raw_events: Sequence[Any],
    *,
    organization_id: int,
    organization_public_id: str,
    as_of: datetime,
    is_import: bool = False,
) -> Verdicts:
    """Check events without writing anything; those accepted are still to be staged, those parked put aside."""
    verdicts = Verdicts()
    earliest, latest = EVER if is_import else accepted_interval(organization_id=organization_id, as_of=as_of)
    seen: dict[str, str] = {}
    drafter = Drafter(organization_id=organization_id, organization_public_id=organization_public_id, as_of=as_of)
    for index, raw in enumerate(raw_events):
        outcome = drafter.draft(raw)
        if isinstance(outcome, list):
            key = raw.get("idempotencyKey") if isinstance(raw, dict) else getattr(raw, "idempotencyKey", None)
            key = key if isinstance(key, str) else ""
            verdicts.rejected.extend(Rejection(index, key, problem) for problem in outcome)
            continue
        if not earliest <= outcome.occurred_at < latest:
            reason = odd_timing(outcome, organization_id=organization_id, earliest=earliest, batch=raw_events)
            if reason is not None:
                entry = Parked(index, outcome, reason)
                kept = verdicts.parked.setdefault((outcome.idempotency_key, outcome.content), entry)
                verdicts.repeated += kept is not entry
                continue
        first = seen.get(outcome.idempotency_key)
        if first is None:
            seen[outcome.idempotency_key] = outcome.content
        elif first == outcome.content:
            verdicts.repeated += 1
            continue
        # The same key with other content goes on: the merge keeps the first and reports this one.
        verdicts.accepted.append((index, outcome))
    return verdicts


def stage(
    drafts: Sequence[EventDraft], *, organization_id: int, as_of: datetime, parked: Sequence[Parked] = ()
) -> None:
    """Commit drafts to the event log, and those of odd timing aside; when this returns they are safe.

    Inside a caller's transaction the log is always staging itself: only its rows can commit with the caller's.
    """
    if not drafts and not parked:
        return
    log = STAGING if connection.in_atomic_block else event_log()
    with log.transaction():
        if parked:
            with transaction.atomic():
                park(parked, organization_id=organization_id, as_of=as_of)
                DeadLetter.objects.bulk_create(
                    _letters([entry.draft for entry in parked], organization_id=organization_id, as_of=as_of)
                )
        if drafts:
            rows = staged_rows(drafts, organization_id=organization_id, as_of=as_of)
            letters = _letters(drafts, organization_id=organization_id, as_of=as_of)
            log.append(Block(organization_id, COLUMNS, BUCKETS, rows, letters))


def staged_rows(drafts: Sequence[EventDraft], *, organization_id: int, as_of: datetime) -> bytes:
    """Give drafts as rows of COPY; new subjects and dimensions are made on the way (caller's transaction)."""
    subjects = subject_numbers([(organization_id, draft.is_external, draft.subject) for draft in drafts])
    towards = _target_cells(drafts, organization_id)
    accepted = as_of.isoformat()
    rows: list[str] = []
    for draft, subject in zip(drafts, subjects, strict=True):
        hashed = key_hash(organization_id, draft.idempotency_key)
        texts = f"{draft.idempotency_key}\t{draft.event_type}\t{draft.source}\t{subject}\t{draft.external_id}"
        data = draft.data
        if not draft.is_plain:
            texts = _escaped(draft.idempotency_key, draft.event_type, draft.source, str(subject), draft.external_id)
            data = _escaped(data)
        rows.append(
            f"{BUCKET_OF[hashed[-1]]}\t{organization_id}\t{hashed}\t{draft.content}\t{draft.public_id}\t{texts}\t"
            f"{draft.moment}\t{accepted}\t{data}\t{draft.targets.cells or towards[draft.targets]}\t"
            f"{{{draft.quantities}}}\t{NULL if draft.hashes is None else '{' + draft.hashes + '}'}\n"
        )
    return "".join(rows).encode()


def _target_cells(drafts: Sequence[EventDraft], organization_id: int) -> dict[Targets, str]:
    """Give the metrics and dimensions columns of targets whose numbers are not remembered yet."""
    unknown = {draft.targets for draft in drafts if draft.targets.cells is None}
    if not unknown:
        return {}
    dimensions = intern_dimensions(
        {
            (organization_id, metric_id, *group)
            for targets in unknown
            for metric_id, group in targets.pairs
            if group is not None
        }
    )
    found = {}
    for targets in unknown:
        metrics = ",".join(str(metric_id) for metric_id, _ in targets.pairs)
        numbers = ",".join(
            "NULL" if group is None else str(dimensions[organization_id, metric_id, *group])
            for metric_id, group in targets.pairs
        )
        found[targets] = f"{{{metrics}}}\t{{{numbers}}}"

    def remember() -> None:
        for targets, cells in found.items():
            targets.cells = cells

    # As with the numbers themselves: one that a rollback takes back must not be remembered.
    transaction.on_commit(remember)
    return found


def _escaped(*values: str) -> str:
    return "\t".join([value.translate(_ESCAPES) for value in values])


def _letters(drafts: Sequence[EventDraft], *, organization_id: int, as_of: datetime) -> list[DeadLetter]:
    return [
        DeadLetter(
            organization_id=organization_id,
            stage="metric",
            code="METRIC_IGNORED_EVENT",
            message=f"{metric}: {reason}",
            payload={"eventId": draft.public_id, "billableMetricId": metric},
            created_at=as_of,
        )
        for draft in drafts
        if draft.ignored_by
        for metric, reason in draft.ignored_by
    ]
