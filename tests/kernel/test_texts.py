"""Text that documents cannot print is refused where it comes in, by name; all scripts are let through."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin import site
from django.core.exceptions import ValidationError
from rest_framework import serializers

from apps.catalog.models import Product
from apps.customers.admin.adding import NewCustomerForm
from apps.customers.models import Customer
from apps.kernel.adminsite.texts import check_line, check_lines
from apps.kernel.http.fields import MatchedCharField, StrictCharField, StringMapField
from tests.world import World

NAME: dict[str, Any] = {"max_length": 255}
WRITTEN = [
    "Acme", "株式会社", "می\u200cخواهم", "क्\u200dष", "👩\u200d💻", "\u202bחברה\u202c", "e\u0301", "\U0002a6d6",
    "\ue000", "—", "0",
]  # fmt: skip
UNSEEN = ["\u200b", "\u200d", " \u00a0\u3000", "\u2800", "\u3164", "\ufeff", "\u00ad\ufe0f"]
UNWRITABLE = {
    "\x07": "U+0007", "a\x00b": "U+0000", "a\x1bb": "U+001B", "a\x7f": "U+007F", "a\x9fb": "U+009F",
    "a\ud800": "U+D800", "a\uffff": "U+FFFF", "a\nb": "U+000A", "a\tb": "U+0009",
}  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_all_scripts_are_text(text: str) -> None:
    assert StrictCharField(**NAME).run_validation(text) == text
    check_line(text)


@pytest.mark.parametrize("text", UNWRITABLE)
def test_control_characters_are_refused_by_name(text: str) -> None:
    said = f"Text must not contain the control character {UNWRITABLE[text]}."
    for field in (StrictCharField(**NAME), StrictCharField(**NAME, allow_blank=True)):
        with pytest.raises(serializers.ValidationError) as refused:
            field.run_validation(text)
        assert refused.value.detail == [said]
    with pytest.raises(ValidationError, match=said.replace("+", r"\+")):
        check_line(text)


def test_long_text_has_lines() -> None:
    text = "One\r\n\ttwo"
    assert StrictCharField(max_length=1000).run_validation(text) == text
    check_lines(text)
    with pytest.raises(serializers.ValidationError):
        StrictCharField(max_length=1000).run_validation("One\x0btwo")
    with pytest.raises(ValidationError):
        check_lines("One\x0btwo")


@pytest.mark.parametrize("text", UNSEEN)
def test_what_shows_nothing_is_blank(text: str) -> None:
    with pytest.raises(serializers.ValidationError) as refused:
        StrictCharField(**NAME).run_validation(text)
    assert refused.value.get_codes() == ["blank"]
    assert StrictCharField(**NAME, allow_blank=True).run_validation(text) == ""
    with pytest.raises(ValidationError):
        check_line(text)


def test_what_events_brought_can_be_asked_for() -> None:
    assert MatchedCharField(**NAME).run_validation("a\tb\x07c") == "a\tb\x07c"
    with pytest.raises(serializers.ValidationError):
        MatchedCharField(**NAME).run_validation("a\x00b")


def test_entries_of_a_map_are_text_too() -> None:
    assert StringMapField().run_validation({"note": "One\ntwo", "none": ""}) == {"note": "One\ntwo", "none": ""}
    for wrong in ({"a": "\ud800"}, {"a\x07": "b"}):
        with pytest.raises(serializers.ValidationError, match="control character"):
            StringMapField().run_validation(wrong)


def test_what_people_type_is_held_to_it(rf: Any) -> None:
    request = rf.get("/")
    request.user = SimpleNamespace(is_superuser=True, visible_organization_ids=lambda: None)
    for model, name in ((Customer, "zero_tax_note"), (Customer, "external_id"), (Product, "name")):
        field = site.get_model_admin(model).formfield_for_dbfield(model._meta.get_field(name), request)
        with pytest.raises(ValidationError, match="control character"):
            field.clean("a\x07b")
    with pytest.raises(ValidationError, match="control character"):
        NewCustomerForm.base_fields["name"].clean("a\x07b")


@pytest.mark.django_db
def test_a_customer_and_a_price_have_names_that_documents_can_print(world: World) -> None:
    customer, product = world.customer(), world.product()
    consumer = {"name": "\u0007", "email": "a@b.test", "address": {"country": "FR", "line1": "a\u001fb"}}
    answer = world.api.post("/v0/customers", {"merchantId": world.id, "consumer": consumer}, expect=400)
    assert {error["field"]: error["message"] for error in answer["errors"]} == {
        "consumer.name": "Text must not contain the control character U+0007.",
        "consumer.address.line1": "Text must not contain the control character U+001F.",
    }
    zero = {"zeroTax": {"category": "E", "note": "\u0007"}}
    answer = world.api.patch(f"/v0/customers/{customer}", zero, expect=400)
    assert [error["field"] for error in answer["errors"]] == ["zeroTax.note"]
    kept = world.api.patch(f"/v0/customers/{customer}", {"zeroTax": {"category": "E", "note": "\u200b"}})
    assert kept["zeroTax"]["note"] == ""
    body = {"merchantId": world.id, "productId": product, "name": "\u200b", "description": "d"}
    answer = world.api.post("/v0/fees", body, expect=400)
    assert [error["field"] for error in answer["errors"]] == ["name"]
