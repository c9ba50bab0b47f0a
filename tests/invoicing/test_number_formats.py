"""How documents are numbered: what a format may be, and that no number is given twice or left out."""

import itertools
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.invoicing.domain.numbers import NEVER, YEARLY, NumberFormat, format_problem
from apps.invoicing.models import NumberingFormat, NumberSeries
from apps.invoicing.services.numbers import next_number, set_number_format
from apps.kernel.errors import ConflictError, InvalidError
from tests.concurrency import at_once
from tests.test_admin import browser, member
from tests.world import World, at, make_world

texts = st.lists(
    st.sampled_from(["{number}", "{number:03}", "{year}", "A", "1", "-", "b", "20"]), min_size=1, max_size=6
).map("".join)
formats = st.builds(NumberFormat, texts, st.sampled_from([YEARLY, NEVER])).filter(
    lambda form: format_problem(form.text, form.resets) is None
)
numbers = st.tuples(st.integers(1970, 2100), st.integers(1, 10**6))


def take(world: World, count: int = 1, *, kind: str = "invoice", year: int = 2026) -> list[str]:
    with transaction.atomic():
        moment = at(f"{year}-03-01T00:00:00Z")
        return next_number(organization=world.merchant, as_of=moment, kind=kind, count=count)


def put(world: World, text: str, *, kind: str = "invoice", resets: str = YEARLY) -> NumberingFormat:
    return set_number_format(organization=world.merchant, kind=kind, text=text, resets=resets)


@given(form=formats, one=numbers, other=numbers)
def test_a_format_makes_a_number_of_its_own_for_each_document(
    form: NumberFormat, one: tuple[int, int], other: tuple[int, int]
) -> None:
    # Numbers that never begin anew are told apart by the number alone.
    differs = one != other if form.resets == YEARLY else one[1] != other[1]
    assume(differs)
    assert form.write(*one) != form.write(*other)
    assert len(form.write(*one)) <= 40


@given(one=formats, other=formats, first=numbers, second=numbers)
def test_formats_of_different_shapes_make_no_number_twice(
    one: NumberFormat, other: NumberFormat, first: tuple[int, int], second: tuple[int, int]
) -> None:
    if one.shape != other.shape:
        assert one.write(*first) != other.write(*second)


@pytest.mark.parametrize(
    ("text", "resets", "said"),
    [
        ("INV-{year}", YEARLY, "Name {number} once"),
        ("INV-{number}-{number}", NEVER, "Name {number} once"),
        ("{year}{year}-{number}", YEARLY, "Name {year} once"),
        ("INV-{number}", YEARLY, "begin anew each year repeat"),
        ("INV-{month}-{number}", NEVER, "{month} is not known"),
        ("INV-{number:5}", NEVER, "{number:5} is not known"),
        ("INV-{number:013}", NEVER, "{number:013} is not known"),
        ("INV/{number}", NEVER, "Use letters, digits"),
        ("INV {number}", NEVER, "Use letters, digits"),
        ("É{number}", NEVER, "Use letters, digits"),
        ("{{number}}", NEVER, "Use letters, digits"),
        ("}{number}", NEVER, "Use letters, digits"),
        ("A" * 31 + "{number}", NEVER, "41 characters"),
        ("", NEVER, "Name {number} once"),
    ],
)
def test_a_wrong_format_says_what_to_do(text: str, resets: str, said: str) -> None:
    assert said in (format_problem(text, resets) or "")


@pytest.mark.django_db
def test_a_format_numbers_what_comes_and_nothing_of_before(world: World) -> None:
    assert take(world, 2) == ["INV-2026-000001", "INV-2026-000002"]
    put(world, "R{year}.{number:03}")
    assert take(world, 2) == ["R2026.001", "R2026.002"]
    assert take(world, year=2027) == ["R2027.001"]
    assert take(world) == ["R2026.003"]
    # Credit notes keep theirs.
    assert take(world, kind="credit_note") == ["INV-CN-2026-000001"]
    put(world, "CN{number}", kind="credit_note", resets=NEVER)
    assert take(world, kind="credit_note") == ["CN1"]
    assert take(world, kind="credit_note", year=2027) == ["CN2"]
    # More digits are the same run of numbers; the one of before goes on where it was.
    put(world, "R{year}.{number:05}")
    assert take(world) == ["R2026.00004"]
    put(world, "INV-{year}-{number:04}")
    assert take(world) == ["INV-2026-0003"]
    assert NumberingFormat.objects.filter(organization=world.merchant, is_current=True).count() == 2
    put(world, "INV-{year}-{number:04}")
    assert take(world) == ["INV-2026-0004"]


@pytest.mark.django_db
def test_what_could_repeat_a_number_is_refused(world: World) -> None:
    take(world)
    take(world, kind="credit_note")
    for text, resets, kind in (
        ("INV-{year}-{number}", NEVER, "invoice"),
        ("INV-{number}-{year}", YEARLY, "invoice"),
        ("INV-2026-{number}", NEVER, "invoice"),
        ("INV-{year}-{number}", YEARLY, "credit_note"),
        ("INV-CN-{year}-{number:03}", YEARLY, "invoice"),
    ):
        with pytest.raises(ConflictError, match="could repeat"):
            put(world, text, kind=kind, resets=resets)
    with pytest.raises(InvalidError):
        put(world, "INV")
    assert take(world) == ["INV-2026-000002"]
    # A prefix of before is remembered as well.
    world.merchant.invoice_prefix = "AB"
    world.merchant.save()
    assert take(world) == ["AB-2026-000001"]
    put(world, "X{number}", resets=NEVER)
    with pytest.raises(ConflictError, match="could repeat"):
        put(world, "INV-{number}-{year}")
    put(world, "INV-{year}-{number:06}")
    assert take(world) == ["INV-2026-000003"]
    # Another merchant is not concerned.
    assert put(make_world(), "INV-{year}-{number:03}").is_current


@pytest.mark.django_db
def test_the_database_holds_formats_apart(world: World) -> None:
    row = put(world, "R{year}-{number}")

    def copy(**changes: Any) -> None:
        facts = {
            "organization": world.merchant,
            "kind": "invoice",
            "text": "S{number}",
            "resets": NEVER,
            "shape": "S#",
        }
        with transaction.atomic():
            NumberingFormat.objects.create(**{**facts, "is_current": False, **changes})

    for changes in (
        {"shape": row.shape}, {"is_current": True}, {"text": "S"}, {"resets": YEARLY}, {"kind": "receipt"},
        {"text": "a b{number}"},
    ):  # fmt: skip
        with pytest.raises(IntegrityError):
            copy(**changes)
    copy()


@pytest.mark.django_db
def test_formats_over_the_api(world: World) -> None:
    url = f"/v0/organizations/{world.id}/numberFormats"
    shown = world.api.get(url)
    assert shown["invoices"] == {"format": "INV-{year}-{number:06}", "resets": "yearly"}
    body = {
        "invoices": {"format": "F-{number:05}", "resets": "never"},
        "creditNotes": {"format": "C-{year}-{number}"},
    }
    changed = world.api.patch(url, body)
    assert (
        changed == {**body, "creditNotes": {"format": "C-{year}-{number}", "resets": "yearly"}} == world.api.get(url)
    )
    # All or none, and the field that is wrong is named.
    wrong = {"invoices": {"format": "G-{number}", "resets": "never"}, "creditNotes": {"format": "G"}}
    refused = world.api.patch(url, wrong, expect=400)
    assert "creditNotes.format" in str(refused)
    taken = {"creditNotes": {"format": "F-{number}", "resets": "never"}}
    assert world.api.patch(url, taken, expect=409)["code"] == "NUMBER_FORMAT_TAKEN"
    assert world.api.get(url) == changed
    assert make_world().api.get(url, expect=404)
    # An invoice that is issued has it.
    product = world.product()
    made = world.subscribe(
        world.customer(), world.plan(product, [world.fee_price(product)]), at="2026-01-01T00:00:00Z",
        clock=world.clock("2026-01-01T00:00:00Z"),
    )  # fmt: skip
    invoice = made["payment"]["invoiceId"]
    assert world.api.get(f"/v2/invoices/{invoice}")["invoiceNumber"] == "F-00001"
    world.pay(invoice)
    note = world.api.post(f"/v2/invoices/{invoice}/creditNotes", {"amount": "1.00", "reason": "x"})
    assert note["creditNoteNumber"] == "C-2026-1"


@pytest.mark.django_db
def test_owners_set_formats_in_the_admin(world: World) -> None:
    client, add = browser(world.owner), reverse("admin:invoicing_numberingformat_add")
    sent = {"organization": world.merchant.pk, "kind": "invoice", "text": "R-{year}", "resets": "yearly"}
    assert "Name {number} once" in client.post(add, sent).content.decode()
    assert client.post(add, {**sent, "text": "R-{year}-{number:03}"}).status_code == 302
    assert "could repeat" in client.post(add, {**sent, "text": "R-{number}-{year}"}).content.decode()
    row = NumberingFormat.objects.get(is_current=True, kind="invoice")
    assert row.text == "R-{year}-{number:03}"
    page = client.get(reverse("admin:invoicing_numberingformat_changelist")).content.decode()
    assert "R-2026-042" in page
    default = NumberingFormat.objects.get(is_current=False)
    act = f"/admin/invoicing/numberingformat/{default.pk}/use-again/"
    assert client.post(act, {"_form_submitted": "1"}).status_code == 302
    assert take(world) == ["INV-2026-000001"]
    finance = browser(member(world, "finance"))
    assert finance.get(add).status_code == 403
    assert finance.get(reverse("admin:invoicing_numberingformat_changelist")).status_code == 200
    other = browser(make_world().owner)
    assert "could" not in other.post(add, sent).content.decode()
    assert NumberingFormat.objects.filter(organization=world.merchant, is_current=True).count() == 2


@pytest.mark.django_db(transaction=True)
def test_no_number_is_left_out_or_repeated_while_formats_change() -> None:
    world = make_world()
    texts = ["A-{year}-{number}", "B-{number:04}", "INV-{year}-{number:06}", "A-{year}-{number:03}"]

    def change() -> list[str]:
        for text in texts:
            put(world, text, resets=YEARLY if "{year}" in text else NEVER)
        return []

    def issue(year: int) -> list[str]:
        return list(itertools.chain.from_iterable(take(world, count, year=year) for count in (1, 3, 2, 1, 4, 1, 2)))

    given = at_once([change, *(lambda year=year: issue(year) for year in (2026, 2027) * 3), change])
    found = [number for numbers in given for number in numbers]
    assert len(found) == 6 * 14
    series: dict[str, list[int]] = {}
    for number in found:
        head, _, tail = number.rpartition("-")
        series.setdefault(head, []).append(int(tail))
    for numbers in series.values():
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    counted = NumberSeries.objects.filter(organization=world.merchant).values_list("last_number", flat=True)
    assert sorted(counted) == sorted(len(numbers) for numbers in series.values())
