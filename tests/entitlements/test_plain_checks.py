"""Checks that the web server's worker answers itself: as the view would, which takes whatever is not plain."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.entitlements.api import wsgi
from apps.entitlements.api.answers import NAMES
from apps.entitlements.api.inputs import CheckSerializer
from apps.entitlements.api.wsgi import read_questions, with_checks
from apps.entitlements.models import Reservation
from apps.kernel.http.parsers import ContractJSONParser
from apps.organizations.selectors import principals
from apps.organizations.services.keys import create_api_key, revoke_api_key
from tests.entitlements.kit import MILLION, Kit
from tests.entitlements.pools import PoolKit
from tests.world import make_world

Answer = tuple[int, dict[str, str], Any]


def call(application: Any, secret: str, body: Any, **environ: str) -> Answer:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    found: list[Any] = []
    environment = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/v1/entitlements/check", "CONTENT_LENGTH": str(len(sent)),
        "CONTENT_TYPE": "application/json", "wsgi.input": io.BytesIO(sent), "SERVER_NAME": "testserver",
        "SERVER_PORT": "80", "wsgi.url_scheme": "http", "HTTP_AUTHORIZATION": f"Bearer {secret}", **environ,
    }  # fmt: skip
    text = b"".join(application(environment, lambda status, headers: found.extend([status, dict(headers)])))
    return int(found[0][:3]), found[1], json.loads(text)


def nobody(environ: Any, start_response: Any) -> list[bytes]:
    raise AssertionError("the view was asked")


@pytest.fixture
def ask(kit: Kit) -> Callable[..., Answer]:
    """Ask the worker alone."""
    return lambda body, **environ: call(with_checks(nobody), environ.pop("secret", kit.world.secret), body, **environ)


@pytest.fixture
def question(kit: Kit) -> dict[str, Any]:
    customer, _, _ = kit.subscriber([kit.price(kit.feature(), MILLION)])
    return {"customerId": customer, "featureKey": "tokens", "productId": kit.product}


def test_a_plain_check_is_answered_as_the_view_does(
    kit: Kit, question: dict[str, Any], ask: Callable[..., Answer]
) -> None:
    kit.use(question["customerId"], "2026-01-01T00:00:00Z", 7)
    body = {"questions": [question, {**question, "quantity": 999_994}, {**question, "featureKey": "no"}]}
    status, headers, found = ask(body)
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-Id"]
    assert found == kit.world.api.post("/v1/entitlements/check", body, expect=200)
    assert [row["allowed"] for row in found["data"]] == [True, False, False]
    assert found["data"][0]["balance"] == 999_993


def test_a_pool_is_asked_without_a_feature(kit: Kit, ask: Callable[..., Answer]) -> None:
    pools = PoolKit.make(kit.world)
    chat = pools.kit.feature("chat")
    attached = {"featureId": chat}
    customer, _, _ = pools.subscriber([pools.price("2", pools.output, feature=attached)], **pools.given(100, None))
    pool = {"customerId": customer, "pricingUnitId": pools.unit}
    body = {
        "questions": [
            pool,
            {**pool, "quantity": 101},
            {**pool, "pricingUnitId": "pu_none"},
            {"customerId": customer, "featureId": chat, "quantity": 50},
        ]
    }
    status, _, found = ask(body)
    assert status == 200
    assert found == kit.world.api.post("/v1/entitlements/check", body, expect=200)
    free, too_much, none, feature = found["data"]
    shown = ("allowed", "balance", "available", "cost", "pricingUnitId", "entitlementId")
    assert [free[name] for name in shown] == [True, 100, 100, 0, pools.unit, pools.pool(customer)["id"]]
    assert (too_much["allowed"], too_much["reason"], too_much["cost"]) == (False, "limit_reached", 101)
    assert (none["allowed"], none["reason"], none["entitlementId"]) == (False, "not_entitled", None)
    assert (feature["allowed"], feature["cost"], feature["pricingUnitId"]) == (True, 100, pools.unit)

    held = {**pool, "quantity": 60.5, "reserveSeconds": 60, "idempotencyKey": "r"}
    (reserved,) = ask({"questions": [held]})[2]["data"]
    made = reserved["reservation"]
    assert (made["quantity"], made["askedQuantity"], made["entitlementId"]) == (60.5, None, free["entitlementId"])
    assert reserved["available"] == 39.5
    assert ask({"questions": [held]})[2]["data"][0]["reservation"] == made
    assert pools.pool(customer)["held"] == 60.5


def test_a_reservation_says_who_made_it(kit: Kit, question: dict[str, Any], ask: Callable[..., Answer]) -> None:
    body = {"questions": [{**question, "quantity": 2.5, "reserveSeconds": 60, "idempotencyKey": "r1"}]}
    first, second = ask(body)[2], ask(body)[2]
    assert first["data"][0]["reservation"] == second["data"][0]["reservation"]
    assert first["data"][0]["available"] == 999_997.5
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.metadata FROM entitlements_reservationevent AS e"
            " JOIN pghistory_context AS c ON c.id = e.pgh_context_id"
        )
        ((who,),) = cursor.fetchall()
    assert json.loads(who)["user"] == kit.world.owner.pk
    again = {"questions": [{**body["questions"][0], "quantity": 3}]}
    assert ask(again)[0] == 409


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_IDEMPOTENCY_KEY": "once"},
        {"QUERY_STRING": "a=%00"},
        {"REQUEST_METHOD": "GET"},
        {"CONTENT_LENGTH": ""},
        {"HTTP_AUTHORIZATION": ""},
        {"PATH_INFO": "/v1/entitlements"},
        {"secret": "sk_test_unknown"},
    ],
)
def test_what_is_not_plain_goes_to_the_view(
    question: dict[str, Any], ask: Callable[..., Answer], environ: dict[str, str]
) -> None:
    with pytest.raises(AssertionError, match="the view was asked"):
        ask({"questions": [question]}, **environ)


@pytest.mark.django_db(transaction=True)
def test_the_view_reads_the_body_again_and_names_what_is_wrong(kit: Kit, question: dict[str, Any]) -> None:
    whole = with_checks(get_wsgi_application())
    status, _, found = call(whole, kit.world.secret, {"questions": [{**question, "quantity": "7"}]})
    assert status == 400
    assert found["errors"][0]["field"] == "questions.0.quantity"
    assert call(whole, kit.world.secret, {"questions": [{**question, "customerId": "cus_é"}]})[0] == 200
    assert call(whole, "sk_test_unknown", {"questions": [question]})[0] == 401


@pytest.mark.django_db(transaction=True)
def test_a_key_that_may_only_read_does_not_reserve(kit: Kit, question: dict[str, Any]) -> None:
    whole = with_checks(get_wsgi_application())
    _, secret = create_api_key(
        organization=kit.world.merchant, user=kit.world.owner, name="reads", scopes=["entitlements:read"]
    )
    assert call(whole, secret, {"questions": [question]})[0] == 200
    body = {"questions": [{**question, "quantity": 1, "reserveSeconds": 60}]}
    assert call(whole, secret, body)[0] == 403
    assert not Reservation.objects.exists()


def test_another_merchants_customer_is_as_absent_as_none(question: dict[str, Any]) -> None:
    _, _, found = call(with_checks(nobody), make_world().secret, {"questions": [question]})
    assert found["data"][0]["reason"] == "not_entitled"


@pytest.mark.django_db(transaction=True)
def test_a_revoked_key_stops_within_a_second(
    kit: Kit, question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = create_api_key(organization=kit.world.merchant, user=kit.world.owner, name="short")
    moment = [1000.0]
    monkeypatch.setattr(principals, "monotonic", lambda: moment[0])
    whole = with_checks(get_wsgi_application())
    assert call(whole, secret, {"questions": [question]})[0] == 200
    revoke_api_key(key_id=key.pk, as_of=datetime.now(UTC))
    moment[0] += 1
    assert call(whole, secret, {"questions": [question]})[0] == 401


def test_a_broken_connection_is_told_where_units_may_be_set_aside(
    question: dict[str, Any], ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(wsgi, "answer_questions", away)
    monkeypatch.setattr(wsgi.connection, "close", lambda: None)
    status, headers, _ = ask({"questions": [{**question, "quantity": 1, "reserveSeconds": 60}]})
    assert (status, headers["Retry-After"]) == (503, "2")
    with pytest.raises(AssertionError, match="the view was asked"):
        ask({"questions": [question]})

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(wsgi, "answer_questions", broken)
    assert ask({"questions": [question]})[0] == 500


TEXTS = (
    st.sampled_from(["cus_1", "crm 1", " x", "", "é", "a\u0000b", "y" * 256, "tokens"]) | st.none() | st.integers()
)
NUMBERS = st.sampled_from(
    [
        "1",
        "0",
        "-1",
        "1.5",
        "1e3",
        "0.1234567891",
        "1.000000000",
        "999999999999",
        "1000000000000",
        '"5"',
        "true",
        "null",
    ]
)
FIELDS = (*NAMES, "idempotencyKey")


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    questions = []
    for _ in range(draw(st.integers(0, 3))):
        some = draw(st.lists(st.sampled_from(FIELDS), max_size=4, unique=True))
        usual = draw(
            st.sampled_from(
                [
                    ("customerId", "featureId"),
                    ("externalCustomerId", "featureKey", "productId"),
                    ("customerId", "pricingUnitId"),
                    (),
                ]
            )
        )
        fields = {name: json.dumps(draw(TEXTS) if name in some else "cus_1") for name in {*some, *usual}}
        if draw(st.booleans()):
            fields["quantity"] = draw(NUMBERS)
        if draw(st.booleans()):
            fields["reserveSeconds"] = draw(
                st.sampled_from(["60", "0", "86400", "86401", '"60"', "1.5", "null", "true"])
            )
        questions.append("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}")
    more = draw(
        st.sampled_from(["", ',"consistent":true', ',"consistent":"true"', ',"other":1', ",", ',"consistent":null'])
    )
    return ("{" + f'"questions":[{",".join(questions)}]{more}' + "}").encode()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(bodies())
def test_what_the_worker_reads_the_view_reads_too(body: bytes) -> None:
    found = read_questions(body)
    if found is None:
        return
    checked = CheckSerializer(data=ContractJSONParser().parse(io.BytesIO(body)))
    assert checked.is_valid(), checked.errors
    rows, is_consistent = found
    assert rows == [dict(row) for row in checked.validated_data["questions"]]
    assert is_consistent == checked.validated_data["consistent"]
