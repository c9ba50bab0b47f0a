"""What happened to a right's units at the instants that part its history, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.entitlements.domain.engine import Balances, Burn, total
from apps.entitlements.domain.grants import ZERO, Grant
from apps.entitlements.models import Entitlement, UsageReset
from apps.entitlements.models import Grant as GrantRow
from apps.entitlements.selectors.histories import ALLOWANCE, History
from apps.kernel.adminsite.display import figure, link, moment

FEW = 3
THE_ALLOWANCE = "the allowance"
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant at which units came or went.

    Attributes:
        left: by grant, what the segment before it left.
        balances: by grant, what is there with all that happened.
        forgiven: overage that a reset at it forgave; without a reset, what a bill takes money for.
        repaid: what carried overage took from units that rolled over.
        overage: what overage is left for units that come.
        is_first: whether the history begins with it.
    """

    at: datetime
    left: Balances
    balances: Balances
    is_reset: bool
    forgiven: Decimal
    repaid: Sequence[Burn]
    overage: Decimal
    is_first: bool = False


def instants_of(history: History) -> list[Instant]:
    """Give where segments begin, and after them the moment that is shown: n segments, n + 1 instants."""
    segments = history.run.segments
    found = [
        Instant(
            at=segment.start,
            left=before.left if before is not None else {},
            balances=segment.balances,
            is_reset=segment.is_reset,
            forgiven=segment.forgiven,
            repaid=segment.repaid,
            overage=segment.overage_before,
            is_first=before is None,
        )
        for before, segment in pairwise([None, *segments])
        if segment is not None
    ]
    return [*found, _last(history)]


def _last(history: History) -> Instant:
    """Give the moment that is shown; what was used after it is none of it."""
    state, before = history.state, history.run.segments[-1] if history.run.segments else None
    overage = before.overage if before is not None else ZERO
    resets = history.schedule.between(state.at - MOMENT, state.at)
    is_edge = bool(resets) and before is not None and not history.entitlement.is_in_credits
    is_reset = is_edge and not resets[0].is_billing
    is_forgiven = is_edge and not resets[0].is_preserving
    return Instant(
        at=state.at,
        left=before.left if before is not None else {},
        balances=state.balances,
        is_reset=is_reset,
        forgiven=overage if is_forgiven else ZERO,
        repaid=history.run.repaid,
        overage=ZERO,
        is_first=before is None,
    )


class Names:
    """How units are called: how many, when and why they were given, with a link to their page.

    One query, or two for a pool, whatever is named.
    """

    def __init__(self, history: History, ids: Iterable[str]) -> None:
        row = history.entitlement
        wanted = set(ids)
        grants = GrantRow.objects.filter(entitlement_id=row.drawn_id, public_id__in=wanted)
        self._grants = {grant.public_id: grant for grant in grants}
        self._rights: Mapping[str, Entitlement] = {}
        if row.is_in_credits:
            rights = Entitlement.objects.filter(pool_id=row.drawn_id, public_id__in=wanted - set(self._grants))
            self._rights = {right.public_id: right for right in rights.select_related("feature")}

    def __call__(self, grant_id: str) -> SafeString | str:
        if grant_id in self._rights:
            right = self._rights[grant_id]
            return format_html("the allowance of {}", link(right, str(right.feature)))
        grant = self._grants.get(grant_id)
        if grant is None:
            return THE_ALLOWANCE if grant_id == ALLOWANCE else grant_id
        why = "bought" if grant.price is not None else "of the plan" if grant.subscription_id else "granted"
        return link(grant, f"the {figure(grant.amount)} {why} {grant.granted_at:%Y-%m-%d}")


class Teller:
    """Says what happened at instants of a history."""

    def __init__(self, history: History, name: Names) -> None:
        self.history, self.name = history, name
        self.by_hand: Mapping[datetime, UsageReset] = {made.effective_at: made for made in history.by_hand}

    def told(self, instant: Instant) -> SafeString:
        """Say what happened at an instant, a line each; nothing where no units came or went."""
        return format_html_join("", "<div>{}</div>", ((line,) for line in self._lines(instant)))

    def _lines(self, instant: Instant) -> Iterator[SafeString | str]:
        at = instant.at
        if instant.is_first:
            yield _beginning(self.history.entitlement, at)
        yield from self._ended(instant)
        if at == self.history.entitlement.active_to:
            yield "The right ends"
        if instant.is_reset:
            yield _reset(self.by_hand.get(at))
            yield from self._kept(instant)
        yield from self._overage(instant)
        yield from self._came(instant)

    def _ended(self, instant: Instant) -> Iterator[SafeString]:
        ended = [grant for grant in self.history.grants if grant.ends_at == instant.at and grant.id in instant.left]
        for word, is_void in (("Expired", False), ("Voided", True)):
            parts = [
                format_html("{}, {}", self.name(grant.id), _rest(instant.left[grant.id]))
                for grant in ended
                if (grant.voided_at == instant.at) == is_void
            ]
            if parts:
                yield few(f"{word}: ", parts)

    def _kept(self, instant: Instant) -> Iterator[SafeString]:
        """Say what a reset left of each rest, and what was forfeited."""
        kept, lost = [], []
        for grant in self.history.grants:
            rest = instant.left.get(grant.id)
            if rest is None or not grant.is_active_at(instant.at):
                continue
            rolled = grant.rolled_over(rest)
            if rolled:
                kept.append(format_html("{} of {}", figure(rolled), self.name(grant.id)))
            if rest > rolled:
                lost.append(format_html("{} of {}", figure(rest - rolled), self.name(grant.id)))
        if kept:
            yield few("Rolled over: ", kept)
        if lost:
            yield few("Forfeited: ", lost)

    def _overage(self, instant: Instant) -> Iterator[SafeString]:
        if instant.forgiven and instant.is_reset:
            yield format_html("{} overage forgiven", figure(instant.forgiven))
        elif instant.forgiven:
            yield format_html("{} overage is over with its bill", figure(instant.forgiven))
        if instant.repaid:
            amount = total(burn.amount for burn in instant.repaid)
            parts = burned(instant.repaid, self.name)
            kind = "carried overage" if instant.is_reset else "overage"
            yield few(f"{figure(amount)} {kind} paid by ", parts)
        if instant.overage > 0:
            yield format_html("{} overage from before is paid first", figure(instant.overage))

    def _came(self, instant: Instant) -> Iterator[SafeString]:
        began, filled = [], []
        for grant in self.history.grants:
            if not grant.is_active_at(instant.at):
                continue
            if grant.is_allowance and (instant.is_reset or grant.effective_at == instant.at):
                is_first = grant.effective_at == instant.at
                yield format_html("Allowance of {} issued", figure(grant.begins_with if is_first else grant.amount))
            elif grant.id not in instant.left:
                until = format_html(", until {}", moment(grant.expires_at)) if grant.expires_at is not None else ""
                began.append(format_html("{}{}", self.name(grant.id), until))
            elif _is_filled_up(grant, instant.at):
                lost = instant.left[grant.id]
                lost = grant.rolled_over(lost) if instant.is_reset else lost
                rest = f", {_rest(lost)}" if lost else ""
                filled.append(format_html("{}{}", self.name(grant.id), rest))
        if began:
            yield few("Begun: ", began)
        if filled:
            yield few("Filled up again: ", filled)


def named_at(history: History, instant: Instant) -> set[str]:
    """Give the ids of all units that could be named at an instant."""
    return {*instant.left, *instant.balances, *(burn.grant_id for burn in instant.repaid)}


def burned(burns: Iterable[Burn], name: Names) -> list[SafeString]:
    """Say how much was taken of which units."""
    return [format_html("{} of {}", figure(burn.amount), name(burn.grant_id)) for burn in burns]


def few(before: str, parts: Sequence[SafeString]) -> SafeString:
    """Write parts one after the other; from the fourth on they wait until somebody asks for them."""
    shown = format_html("{}{}", before, format_html_join(", ", "{}", ((part,) for part in parts[:FEW])))
    rest = parts[FEW:]
    if not rest:
        return shown
    return format_html(
        "{}, <details><summary>and {} more</summary>{}</details>",
        shown,
        f"{len(rest):,}",
        format_html_join("", "<div>{}</div>", ((part,) for part in rest)),
    )


def _beginning(row: Entitlement, at: datetime) -> str:
    if row.pricing_unit_id is not None or row.pool_id is not None:
        return "The first credits or usage of the pool"
    if not row.is_of_plan:
        return "The right begins, issued by hand"
    return "The right begins, by the plan of its subscription"


def _reset(by_hand: UsageReset | None) -> str:
    if by_hand is None:
        return "A reset of the calendar"
    words = f"A reset by hand ({by_hand.reason})" if by_hand.reason else "A reset by hand"
    return words if by_hand.retains_anchor else f"{words}, later resets count from it"


def _rest(amount: Decimal) -> str:
    return f"{figure(amount)} left were forfeited" if amount else "all of it used"


def _is_filled_up(grant: Grant, at: datetime) -> bool:
    return grant.recurrence is not None and at in grant.recurrence.around(at)
