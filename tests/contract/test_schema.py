"""The description of the API is valid, complete, and true: what it says is what calls with made-up input get."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from tests.world import World, make_world

METHODS = {"get", "post", "patch", "put", "delete"}
CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return found


def routes(resolver: URLResolver | None = None, before: str = "/") -> Iterator[str]:
    for entry in (resolver or get_resolver()).url_patterns:
        path = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, path)
        elif isinstance(entry, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def test_it_is_a_valid_document_made_without_guesses(document: dict[str, Any]) -> None:
    assert dict(GENERATOR_STATS._warn_cache) == {}
    assert dict(GENERATOR_STATS._error_cache) == {}
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    ours = {route for route in routes() if re.match(r"/v\d/", route)}
    assert ours == set(document["paths"])


def test_operations_have_names_of_their_own_and_refusals(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, method, operation in operations(document):
        assert {"400", "401", "403"} <= set(operation["responses"]), (method, path)


def test_the_published_page_is_the_same(world: World, document: dict[str, Any]) -> None:
    answer = world.api.client.get("/schema/?format=json")
    assert answer.status_code == 200
    assert set(answer.json()["paths"]) == set(document["paths"])


@pytest.mark.django_db
@pytest.mark.timeout(600)
def test_made_up_calls_get_what_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.customers.api.customers.LIST_CALLS_PER_SECOND", 10**6)
    world = make_world()
    product = world.product()
    world.plan(product, [world.fee_price(product)])
    # The server's request signals close connections; the test's transaction lives in one.
    for signal in (signals.request_started, signals.request_finished):
        monkeypatch.setattr(signal, "receivers", [])
        monkeypatch.setattr(signal, "sender_receivers_cache", type(signal.sender_receivers_cache)())
    api = schemathesis.openapi.from_wsgi("/schema/?format=json", get_wsgi_application())
    headers = {"Authorization": f"Bearer {world.secret}", "Accept-Encoding": "identity"}
    checks = CHECKS.get_by_names(CHECKED)
    problems: list[str] = []
    for wrapped in api.get_all_operations():
        operation = wrapped.ok()
        if operation.method.lower() not in {"get", "post"}:
            continue

        @settings(
            max_examples=25,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def call(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=headers, checks=checks)

        try:
            operation_test(operation, call)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            text = "\n".join(str(part) for part in getattr(error, "exceptions", [error]))
            problems.append(f"{operation.method} {operation.path}\n{text[:1500]}")
    assert not problems, "\n\n".join(problems)


def operation_test(operation: Any, call: Any) -> None:
    from hypothesis import given

    given(case=operation.as_strategy())(call)()
