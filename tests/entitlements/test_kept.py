"""What processes keep of rights is a cache only: answers are those of the whole history, whatever happens."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.entitlements.models import Entitlement, Grant, Reservation
from apps.entitlements.selectors import asking, standings
from apps.entitlements.selectors.asking import Asked
from apps.entitlements.selectors.carrying import Standing
from apps.entitlements.selectors.kept import HOUR, Kept, memory
from apps.entitlements.services.checking import Question, check
from apps.entitlements.services.granting import GrantTerms, create_grant, void_grant
from apps.entitlements.services.resetting import ResetTerms, reset_entitlement
from apps.kernel.errors import ConflictError, InvalidError
from apps.kernel.prepared import Rows, shared
from apps.metering.services.merge import drain
from apps.metering.services.voiding import void_named
from apps.organizations.models import Organization
from tests.entitlements.kit import Kit
from tests.world import make_world

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def text_of(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextmanager
def statements() -> Iterator[list[str]]:
    """Give what is asked of the database: on the thread's own connection, and on the one that threads share."""
    sent: list[str] = []
    read = shared.read

    def note(sql: str, values: Mapping[str, Any]) -> Rows:
        sent.append(sql)
        return read(sql, values)

    with CaptureQueriesContext(connection) as own, patch.object(shared, "read", note):
        yield sent
    sent.extend(query["sql"] for query in own)


@dataclass
class Case:
    """A customer of the wall clock with one right; `moment` is what the clocks of the code under test show."""

    kit: Kit
    customer: str
    asked: Asked
    now: datetime
    moment: datetime
    worked_out: int = 0

    @property
    def row(self) -> Entitlement:
        return Entitlement.objects.get(customer__public_id=self.customer)

    def use(self, at: datetime, tokens: int | float, **more: Any) -> str:
        key = str(self.kit.world.send(self.customer, text_of(at), tokens=tokens, **more)["idempotencyKey"])
        drain()
        return key

    def ask(self) -> Standing:
        (found,) = standings.standings(organization_id=self.kit.world.merchant.pk, asked=[self.asked])
        assert found is not None
        return found

    def expected(self) -> Standing:
        ((_, found, _),) = standings._worked_out(self.kit.world.merchant.pk, [self.asked])
        self.worked_out -= 1
        assert found is not None
        return found

    def kept(self) -> Kept | None:
        return memory.find(str(connection.settings_dict["NAME"]), self.kit.world.merchant.pk, self.asked)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Case]:
    def build(template: dict[str, Any], *, days: int = 12, by_external: bool = False) -> Case:
        now = datetime.now(UTC)
        kit = Kit.make(make_world())
        feature = kit.feature()
        customer = kit.world.customer(externalId="crm-1")
        plan = kit.world.plan(kit.product, [kit.price(feature, template)])
        kit.world.subscribe(customer, plan, at=text_of((now - timedelta(days=days)).replace(microsecond=0)))
        asked = Asked(None, "crm-1", feature) if by_external else Asked(customer, None, feature)
        case = Case(kit, customer, asked, now, now)
        for module in (standings, asking):
            monkeypatch.setattr(module, "wall_now", lambda: case.moment)
        worked_out = standings._worked_out

        def count(*arguments: Any) -> Any:
            case.worked_out += 1
            return worked_out(*arguments)

        monkeypatch.setattr(standings, "_worked_out", count)
        return case

    return build


DAILY = {"usagePeriod": {"interval": "PT20H"}, "issueAfterReset": 60}
TEMPLATES = [
    {"issueAfterReset": 500},
    {**DAILY, "isSoftLimit": True, "preserveOverageAtReset": True, "resetMaxRollover": 15},
    {**DAILY, "isSoftLimit": True, "resetMinRollover": 5, "resetMaxRollover": 40},
    DAILY,
]


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_kept_states_answer_as_the_whole_history_does(make: Callable[..., Case], number: int) -> None:
    chance = random.Random(number)
    case = make(TEMPLATES[number], by_external=number % 2 == 1)
    sent: list[str] = []
    resets: list[ResetTerms] = []

    def use_lately() -> None:
        sent.append(case.use(case.now - chance.random() * 6 * HOUR, chance.randint(1, 30)))

    def use_at_once() -> None:
        sent.append(case.use(case.moment - chance.random() * 5 * MINUTE, chance.randint(1, 9)))

    def use_long_ago() -> None:
        sent.append(case.use(case.now - chance.random() * 10 * 24 * HOUR, chance.randint(1, 30)))

    def take_back() -> None:
        sent.append(case.use(case.now - chance.random() * 30 * HOUR, -chance.randint(1, 20)))

    def use_by_own_id() -> None:
        body = {
            "type": "ai.inference", "source": "test", "externalSubject": "crm-1", "data": {"tokens": 3},
            "timestamp": text_of(case.now - chance.random() * 8 * HOUR), "idempotencyKey": f"own-{len(sent)}",
        }  # fmt: skip
        case.kit.world.api.post("/v0/events", body, expect=202)
        drain()

    def void_event() -> None:
        if sent:
            void_named(
                organization_id=case.kit.world.merchant.pk, keys=[chance.choice(sent)], event_ids=[],
                reason="wrong", user_id=case.kit.world.owner.pk, as_of=case.now,
            )  # fmt: skip

    def grant() -> None:
        effective = case.now + (chance.random() - 0.8) * 40 * HOUR
        terms = GrantTerms(
            Decimal(chance.randint(1, 60)), f"g{chance.random()}", effective,
            expires_at=chance.choice([None, effective + chance.random() * 40 * HOUR + MINUTE]),
            priority=chance.randint(-1, 1), rollover_max=chance.choice([None, Decimal(7)]),
            recurrence=chance.choice(["", "PT7H"]),
        )  # fmt: skip
        create_grant(entitlement_id=case.row.pk, terms=terms, as_of=case.now)

    def void() -> None:
        rows = list(Grant.objects.filter(entitlement=case.row, voided_at=None))
        if rows:
            void_grant(grant_id=chance.choice(rows).pk, as_of=case.now - chance.choice([0, 30]) * MINUTE)

    def reset() -> None:
        terms = ResetTerms(
            f"r{chance.random()}",
            chance.choice([None, min(case.moment, case.now + HOUR) - chance.random() * 25 * HOUR]),
            retains_anchor=chance.random() < 0.5,
            preserves_overage=chance.choice([None, True, False]),
        )
        # Some do not lie after the last; what never resets refuses all.
        with suppress(InvalidError, ConflictError):
            reset_entitlement(entitlement_id=case.row.pk, terms=terms, as_of=max(case.moment, case.now))
            resets.append(terms)

    def reserve() -> None:
        check(
            organization_id=case.kit.world.merchant.pk,
            questions=[Question(case.asked, Decimal(1), chance.randint(1, 200) * MINUTE)],
        )

    def change_terms() -> None:
        Entitlement.objects.filter(pk=case.row.pk).update(allowance=Decimal(chance.randint(40, 80)))

    def change_clocks() -> None:
        Organization.objects.filter(pk=case.kit.world.merchant.pk).update(
            event_seconds_ahead=chance.choice([0, 60, 3600])
        )

    often = [use_lately, use_at_once]
    seldom = [
        use_long_ago, take_back, use_by_own_id, void_event, grant, void, reset, reserve, change_terms, change_clocks,
    ]  # fmt: skip
    asked = 0
    for _ in range(90):
        case.moment = case.now + (chance.random() - 0.3) * 4 * HOUR
        chance.choice(often if chance.random() < 0.5 else seldom)()
        for _ in range(3):
            expected = case.expected()
            asked += 1
            assert case.ask() == expected
            case.moment += chance.random() * 40 * MINUTE
    assert case.worked_out < asked * 0.7
    assert bool(resets) == ("usagePeriod" in TEMPLATES[number])


def test_a_check_is_one_query_however_many_grants(make: Callable[..., Case]) -> None:
    case = make({"issueAfterReset": 10})
    for n in range(40):
        terms = GrantTerms(Decimal(2), f"g{n}", case.now - n * 6 * HOUR)
        create_grant(entitlement_id=case.row.pk, terms=terms, as_of=case.now)
    case.use(case.now - 30 * HOUR, 13)
    assert case.ask().balance == 77
    case.use(case.now - MINUTE, 2)
    question = Question(case.asked, Decimal(1))
    with statements() as queries:
        verdicts = check(organization_id=case.kit.world.merchant.pk, questions=[question] * 100)
    assert len(queries) == 1
    assert {verdict.standing.balance for verdict in verdicts if verdict.standing} == {75}


@pytest.mark.parametrize("is_soft", [True, False])
def test_grants_that_began_lately_are_summed_up_unless_usage_was_taken_back(
    make: Callable[..., Case], is_soft: bool
) -> None:
    """What was taken back before a grant began is another's than what was taken back after it."""
    chance = random.Random(int(is_soft))
    case = make({"issueAfterReset": 40, "isSoftLimit": is_soft})
    for n in range(6):
        terms = GrantTerms(Decimal(chance.randint(5, 40)), f"g{n}", case.now - chance.random() * 5 * HOUR)
        create_grant(entitlement_id=case.row.pk, terms=terms, as_of=case.now)
    for is_mixed in (False, True):
        for _ in range(25):
            tokens = chance.randint(-12, -1) if is_mixed and chance.random() < 0.4 else chance.randint(1, 12)
            case.use(case.now + (chance.random() * 6 - 5) * HOUR, tokens)
            case.moment = case.now + (chance.random() - 0.5) * HOUR
            case.ask()
            with statements() as queries:
                found = case.ask()
            assert len(queries) == 1 or is_mixed
            assert len(queries) <= 2
            assert found == case.expected()


def test_a_reset_dated_back_is_seen_at_once(make: Callable[..., Case]) -> None:
    """Before the instant whose state is kept, in its hours, and now."""
    case = make(DAILY | {"usagePeriod": {"interval": "P30D"}})
    case.use(case.now - 30 * HOUR, 50)
    case.use(case.now - 2 * HOUR, 7)
    for key, ago, left in (("a", 20 * HOUR, 53), ("b", 1 * HOUR, 60), ("c", 0 * HOUR, 60)):
        case.ask()
        assert case.kept() is not None
        terms = ResetTerms(key, case.now - ago)
        reset_entitlement(entitlement_id=case.row.pk, terms=terms, as_of=case.now)
        asked = case.worked_out
        assert case.ask().balance == left
        assert case.worked_out == asked + 1
        assert case.ask() == case.expected()


def test_a_hundred_rights_cost_as_many_queries_as_one(make: Callable[..., Case]) -> None:
    case = make({"issueAfterReset": 10})
    world = case.kit.world
    tiers = [case.kit.feature(f"tier-{n}", "static") for n in range(12)]
    for feature in tiers:
        body = {"customerId": case.customer, "featureId": feature, "template": {"slots": 2}}
        world.api.post("/v1/entitlements", body)
    case.moment += HOUR
    questions = [Question(Asked(case.customer, None, feature), hold=HOUR, quantity=Decimal(1)) for feature in tiers]
    questions += [Question(case.asked, Decimal(1), HOUR, f"k{n}") for n in range(12)]
    counts = []
    for few in (questions[11:13], questions):
        for _ in range(2):
            with statements() as queries:
                verdicts = check(organization_id=world.merchant.pk, questions=few)
        counts.append(len(queries))
    assert [verdict.is_allowed for verdict in verdicts] == [True] * 22 + [False] * 2
    # Begin, lock, read, slots, known keys, new reservations and their history, commit.
    assert counts[1] <= counts[0] + 1 <= 9


def test_what_a_transaction_may_undo_is_not_kept(make: Callable[..., Case]) -> None:
    case = make({"issueAfterReset": 10})
    with transaction.atomic():
        terms = GrantTerms(Decimal(5), "undone", case.now - 2 * HOUR)
        create_grant(entitlement_id=case.row.pk, terms=terms, as_of=case.now)
        assert case.ask().balance == 15
        assert case.kept() is None
        transaction.set_rollback(True)
    assert case.ask().balance == 10
    assert case.kept() is not None


def test_usage_that_is_committed_while_a_state_is_made_is_seen(make: Callable[..., Case], monkeypatch: Any) -> None:
    """The merge began before the state was made and commits after it: neither time nor number would tell."""
    case = make({"issueAfterReset": 100})
    old = case.now - 20 * HOUR
    case.use(old, 5)
    assert case.ask().balance == 95
    other = connection.copy()
    other.ensure_connection()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("UPDATE metering_window SET sum = sum + 1, changed_at = now() WHERE hour < %s", [case.now])
        memory.clear()
        assert case.ask().balance == 95
        assert case.kept() is not None
        other.commit()
    finally:
        other.close()
    assert case.ask().balance == 94


def test_a_state_is_never_used_for_a_moment_before_it(make: Callable[..., Case]) -> None:
    case = make({"issueAfterReset": 100})
    case.use(case.now - 20 * HOUR, 5)
    case.use(case.now - 40 * HOUR, 7)
    assert case.ask().balance == 88
    case.moment = case.now - 30 * HOUR
    assert case.ask().balance == 93
    kept = case.kept()
    assert kept is not None
    assert kept.state is not None
    assert kept.state.at <= case.moment


def test_marks_of_another_server_are_no_changes(make: Callable[..., Case]) -> None:
    """A restored backup has marks of transactions that this server has not got to yet."""
    case = make({"issueAfterReset": 100})
    case.use(case.now - 20 * HOUR, 5)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE metering_window DISABLE TRIGGER metering_window_late")
        cursor.execute("UPDATE metering_window SET late_xid = '99999999999'")
        cursor.execute("ALTER TABLE metering_window ENABLE TRIGGER metering_window_late")
    for _ in range(3):
        assert case.ask().balance == 95
    assert case.worked_out == 1


def test_reservations_of_one_call_see_each_other(make: Callable[..., Case]) -> None:
    case = make({"issueAfterReset": 10})
    questions = [
        Question(case.asked, Decimal(6), HOUR, "one"),
        Question(case.asked, Decimal(6), HOUR, "two"),
        Question(case.asked, Decimal(6), HOUR, "one"),
        Question(case.asked, Decimal(4), HOUR),
        Question(case.asked, Decimal(1)),
    ]
    verdicts = check(organization_id=case.kit.world.merchant.pk, questions=questions)
    assert [verdict.is_allowed for verdict in verdicts] == [True, False, True, True, False]
    assert verdicts[0].reservation == verdicts[2].reservation
    assert Reservation.objects.count() == 2
    again = check(organization_id=case.kit.world.merchant.pk, questions=[replace(questions[0])])
    assert again[0].reservation == verdicts[0].reservation
