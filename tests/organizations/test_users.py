import pytest

from tests.world import World, make_world

pytestmark = pytest.mark.django_db


def test_a_member_is_read_and_changed(world: World) -> None:
    url = f"/v0/users/{world.owner.public_id}"
    shown = world.api.get(url)
    assert shown["organizations"] == [{"id": world.id, "state": "active", "roles": ["owner"]}]
    changed = world.api.patch(
        url, {"firstName": "Ada", "phone": "+33 1", "dateOfBirth": "1980-02-29", "address": {"country": "FR"}}
    )
    assert (changed["firstName"], changed["dateOfBirth"], changed["address"]) == (
        "Ada",
        "1980-02-29",
        {"country": "FR"},
    )
    # What is not named stays.
    assert world.api.patch(url, {"lastName": "L"})["firstName"] == "Ada"


def test_wrong_fields_are_named(world: World) -> None:
    answer = world.api.patch(
        f"/v0/users/{world.owner.public_id}", {"type": "ROBOT", "dateOfBirth": "x", "firstName": 3}, expect=400
    )
    assert {error["field"] for error in answer["errors"]} == {"type", "dateOfBirth", "firstName"}


def test_another_merchants_user_does_not_exist(world: World) -> None:
    stranger = make_world().owner
    world.api.get(f"/v0/users/{stranger.public_id}", expect=404)
    world.api.patch(f"/v0/users/{stranger.public_id}", {"firstName": "x"}, expect=404)
