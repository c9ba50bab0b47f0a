"""Addresses that no text of the database could hold."""

import pytest
from django.test import Client

from tests.world import World

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", ["/v0/products/%00", "/v1/slots/a%00b", "/v0/users/%00"])
def test_a_path_with_nul_names_nothing(world: World, path: str) -> None:
    assert world.api.get(path, expect=404)["code"] == "NOT_FOUND"


@pytest.mark.parametrize("path", ["/v1/slots?customerId=%00", "/v0/customers?organizationId=x&name=ab%00c"])
def test_a_query_with_nul_is_refused(world: World, path: str) -> None:
    assert "NUL" in world.api.get(path, expect=400)["message"]


@pytest.mark.parametrize(
    ("path", "status"), [("/checkout/%00", 404), ("/portal/%00", 404), ("/admin/catalog/product/?q=%00", 400)]
)
def test_so_are_pages(path: str, status: int) -> None:
    assert Client().get(path).status_code == status
