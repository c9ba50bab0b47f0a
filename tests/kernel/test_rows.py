"""Rows in sets are written as rows one by one are."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import Product
from apps.customers.models import Customer
from apps.documents.models import PartyFacts
from apps.invoicing.models import Invoice
from apps.kernel.rows import insert_missing, insert_rows, insert_values, join_all, many, update_rows
from apps.organizations.models import Organization
from apps.outbox.models import OutboxEvent
from apps.subscriptions.models import SubscriptionPause
from tests.world import World

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
ODD = 'tab\t, line\n, back\\slash, "quote", {brace}, \\N, ünï'


def invoice(world: World) -> Invoice:
    price = world.fee_price(product := world.product())
    at = "2026-01-01T00:00:00Z"
    world.subscribe(world.customer(), world.plan(product, [price]), at=at, clock=world.clock(at))
    return Invoice.objects.get()


def test_new_rows_have_ids_times_and_every_kind_of_value(world: World) -> None:
    products = [Product(organization=world.merchant, name=ODD, metadata={"a": ODD, "b": [1, None]}) for _ in range(3)]
    insert_rows(products)
    stored = {row.public_id: row for row in Product.objects.all()}
    assert set(stored) == {row.public_id for row in products}
    for row in stored.values():
        assert (row.name, row.metadata, row.description) == (ODD, {"a": ODD, "b": [1, None]}, "")
        assert row.created_at is not None
        assert row.deleted_at is None


def test_new_rows_are_in_the_history(world: World) -> None:
    insert_rows([Product(organization=world.merchant, name="Set") for _ in range(2)])
    history = Product.pgh_event_model.objects  # type: ignore[attr-defined]
    assert history.filter(name="Set").count() == 2


def test_one_bad_row_leaves_none(world: World) -> None:
    twice = [Product(organization=world.merchant, name="Same", public_id="prod_same") for _ in range(2)]
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(twice)
    assert not Product.objects.exists()


def test_changed_rows_take_one_statement(world: World) -> None:
    insert_rows([Product(organization=world.merchant, name=f"{n}") for n in range(50)])
    rows = list(Product.objects.order_by("pk"))
    for row in rows:
        row.name, row.metadata, row.deleted_at = f"{row.name} {ODD}", {"n": ODD}, AT
    before = rows[0].updated_at
    with CaptureQueriesContext(connection) as asked:
        update_rows(rows, ["name", "metadata"])
    assert len(asked) == 1
    changed = list(Product.objects.order_by("pk"))
    assert [(row.name, row.metadata) for row in changed] == [(f"{n} {ODD}", {"n": ODD}) for n in range(50)]
    assert all(row.deleted_at is None and row.updated_at > before for row in changed)
    for row in rows:
        row.deleted_at = None if row.name.startswith("1") else AT
    update_rows(rows, ["deleted_at"])
    assert {row.deleted_at for row in Product.objects.all()} == {None, AT}


def test_what_is_the_same_for_all_is_written_to_all_and_not_to_others(world: World) -> None:
    insert_rows([Product(organization=world.merchant, name=f"{n}") for n in range(4)])
    *rows, other = Product.objects.order_by("pk")
    for number, row in enumerate(rows):
        row.name, row.description, row.deleted_at = ODD, f"{ODD} {number}", AT
        # Equal in Python, and not the same.
        row.metadata = {"n": [1, True, ODD][number % 2 :]}
    update_rows(rows, ["name", "description", "deleted_at", "metadata"])
    *stored, left = Product.objects.order_by("pk")
    assert [(row.name, row.description, row.deleted_at, row.metadata) for row in stored] == [
        (row.name, row.description, row.deleted_at, row.metadata) for row in rows
    ]
    assert (left.name, left.updated_at) == (other.name, other.updated_at)
    for row in rows:
        row.deleted_at, row.metadata = None, {"n": ODD}
    update_rows(rows, ["deleted_at", "metadata"])
    assert [(row.deleted_at, row.metadata) for row in Product.objects.order_by("pk")][:3] == [(None, {"n": ODD})] * 3


def test_lists_decimals_and_references_are_written(world: World) -> None:
    row = invoice(world)
    row.price_revision_ids, row.next_revision_ids = [7, 2**40], []
    row.subtotal = row.grand_total = Decimal("49.000000001")
    row.auto_approve, row.next_action_at = False, AT
    row.number = None
    names = ["price_revision_ids", "next_revision_ids", "auto_approve", "next_action_at"]
    update_rows([row], names)
    stored = Invoice.objects.get()
    assert [getattr(stored, name) for name in names] == [getattr(row, name) for name in names]
    assert stored.number is not None, "only the named columns are written"


def test_laws_of_the_database_hold(world: World) -> None:
    row = invoice(world)
    assert row.number is not None
    row.grand_total += 1
    with pytest.raises(Exception, match="issued_is_frozen"), transaction.atomic():
        update_rows([row], ["grand_total"])


def test_no_rows_are_no_question(world: World) -> None:
    with CaptureQueriesContext(connection) as asked:
        insert_rows([])
        update_rows([], ["name"])
    assert len(asked) == 0
    assert not OutboxEvent.objects.filter(object_id="").exists()


def test_plain_values_take_defaults_for_the_rest() -> None:
    insert_values(
        OutboxEvent,
        ("organization_id", "event_type", "object_id", "payload", "occurred_at"),
        [(7, ODD, f"o{n}", {"odd": ODD, "n": [n, None, True]}, AT) for n in range(3)],
    )
    rows = list(OutboxEvent.objects.filter(organization_id=7).order_by("pk"))
    assert [row.object_id for row in rows] == ["o0", "o1", "o2"]
    assert {(row.event_type, row.occurred_at) for row in rows} == {(ODD, AT)}
    assert [row.payload for row in rows] == [{"odd": ODD, "n": [n, None, True]} for n in range(3)]
    assert all(row.created_at is not None for row in rows)
    insert_values(OutboxEvent, ("organization_id",), [])


def test_rows_that_are_there_by_a_constraint_are_left_out(world: World) -> None:
    merchant, names = world.merchant.pk, ("organization_id", "digest", "facts")
    insert_missing(PartyFacts, names, [(merchant, "a", {"name": ODD})])
    with CaptureQueriesContext(connection) as asked:
        insert_missing(PartyFacts, names, [(merchant, digest, {"name": digest}) for digest in "abc"])
        insert_missing(PartyFacts, names, [])
    assert len(asked) == 1
    stored = PartyFacts.objects.order_by("digest")
    assert [(row.digest, row.facts["name"]) for row in stored] == [("a", ODD), ("b", "b"), ("c", "c")]
    assert all(row.created_at is not None for row in stored)


def test_one_question_finds_what_several_keys_refer_to(world: World) -> None:
    for _ in range(2):
        world.customer()
    rows = list(Customer.objects.order_by("pk"))
    with CaptureQueriesContext(connection) as asked:
        join_all([(rows, "organization"), (rows, "consumer"), ([], "consumer")], Organization.objects.all())
        found = [(row.organization.pk, row.consumer.pk) for row in rows]
    assert len(asked) == 1
    assert found == [(row.organization_id, row.consumer_id) for row in rows]
    assert rows[0].organization is rows[1].organization


def test_a_time_without_a_zone_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="no time zone"):
        insert_values(OutboxEvent, ("occurred_at",), [(AT.replace(tzinfo=None),)])
    with pytest.raises(TypeError, match="not written in sets"):
        insert_values(SubscriptionPause, ("span",), [(None,)])


def test_changes_in_sets_are_each_in_the_history(world: World) -> None:
    row = invoice(world)
    history = Invoice.pgh_event_model.objects.filter(pgh_obj_id=row.pk)  # type: ignore[attr-defined]
    before = history.count()
    row.settlement_note = "Told"
    update_rows([row], ["settlement_note"])
    update_rows([row], ["settlement_note"])
    assert history.count() == before + 1, "what changes nothing is no change"
    latest = history.order_by("-pgh_id").first()
    assert (latest.pgh_label, latest.settlement_note, latest.public_id) == ("update", "Told", row.public_id)


def test_many_keys_are_one_parameter(world: World) -> None:
    insert_rows([Product(organization=world.merchant, name=f"{n}") for n in range(5)])
    keys = list(Product.objects.order_by("pk").values_list("pk", flat=True))
    found = Product.objects.filter(pk__in=many(keys[1:4])).order_by("pk")
    assert list(found.values_list("pk", flat=True)) == keys[1:4]
    assert not Product.objects.filter(pk__in=many([])).exists()
