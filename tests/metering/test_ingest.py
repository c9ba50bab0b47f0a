"""What is taken, what is refused and why, over HTTP."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from apps.metering.models import DeadLetter, EventConflict, MeterEvent, UsageWindow
from apps.metering.services.merge import drain, merge_buckets
from tests.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("january")]

MONTH = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"


def event(key: str | None = None, **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "ai.inference",
        "source": "app",
        "subject": "cus_1",
        "timestamp": "2026-01-05T10:00:00Z",
        "data": {"tokens": 10},
        **({"idempotencyKey": key} if key else {}),
    }
    body.update(changes)
    return {name: value for name, value in body.items() if value is not None}


def batch(world: World, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, Any]:
    answer = world.api.client.post(
        "/v0/events/batch",
        data=body,
        content_type=content_type,
        headers={"Authorization": f"Bearer {world.secret}", **headers},
    )
    return answer.status_code, json.loads(answer.content)


def total(world: World, metric: str) -> Any:
    drain()
    return world.api.get(f"/v0/billableMetrics/{metric}/meter?{MONTH}")["totalValue"]


def test_accepted_event_is_echoed_with_its_id(world: World, metric: str) -> None:
    answer = world.api.post("/v0/events", event("k1", externalId="a-1"), expect=202)
    assert answer["object"] == "event"
    assert answer["id"].startswith("evt_")
    assert answer["idempotencyKey"] == "k1"
    assert answer["externalId"] == "a-1"
    assert answer["timestamp"] == "2026-01-05T10:00:00Z"
    assert total(world, metric) == 10


def test_without_a_key_one_is_made_and_returned(world: World, metric: str) -> None:
    first = world.api.post("/v0/events", event(), expect=202)["idempotencyKey"]
    world.api.post("/v0/events", event(first), expect=202)
    assert total(world, metric) == 10


def test_unknown_type_is_refused_in_the_reply(world: World, metric: str) -> None:
    answer = world.api.post("/v0/events", event(type="no.such"), expect=422)
    assert answer["code"] == "UNKNOWN_EVENT_TYPE"


def test_every_bad_field_is_named(world: World, metric: str) -> None:
    bad = {"type": 5, "subject": "", "data": [], "timestamp": "yesterday", "externalId": "a b"}
    answer = world.api.post("/v0/events", bad, expect=400)
    assert {problem["field"] for problem in answer["errors"]} == {
        "type", "source", "subject", "data", "timestamp", "externalId",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["many", True, None, {"a": 1}, "1e99", "0.0000000001", "NaN"])
def test_a_value_nobody_can_count_is_refused(world: World, metric: str, value: Any) -> None:
    answer = world.api.post("/v0/events", event(data={"tokens": value}), expect=400)
    assert answer["errors"][0]["field"] == "data.tokens"
    assert total(world, metric) == 0


def test_a_value_one_of_two_metrics_can_count_is_kept_and_reported(world: World) -> None:
    product = world.product()
    tokens, seconds = world.metric(product), world.metric(product, path="$.seconds")
    world.api.post("/v0/events", event(data={"tokens": 7, "seconds": "long"}), expect=202)
    assert total(world, tokens) == 7
    assert total(world, seconds) == 0
    letter = DeadLetter.objects.get()
    assert letter.code == "METRIC_IGNORED_EVENT"
    assert seconds in letter.message


def test_exact_decimals_survive_the_way(world: World, metric: str) -> None:
    for n in range(10):
        body = json.dumps(event(f"k{n}")).replace('"tokens": 10', '"tokens": 0.1').encode()
        world.api.client.post(
            "/v0/events",
            data=body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {world.secret}"},
        )
    assert total(world, metric) == 1
    assert UsageWindow.objects.get().sum == Decimal(1)


def test_event_from_leaves_older_events_out(world: World) -> None:
    metric = world.metric(world.product(), eventFrom="2026-01-10T00:00:00Z")
    world.api.post("/v0/events", event("a", timestamp="2026-01-09T23:59:59Z"), expect=202)
    world.api.post("/v0/events", event("b", timestamp="2026-01-10T00:00:00Z"), expect=202)
    assert total(world, metric) == 10


def test_batch_gives_a_verdict_for_each(world: World, metric: str) -> None:
    rows = [event("a"), event("a"), event("b", type="nope"), event("c", data={"tokens": "x"}), event("d"), 7]
    status, answer = batch(world, json.dumps(rows).encode())
    assert status == 202
    assert (answer["accepted"], answer["repeated"]) == (2, 1)
    assert [(row["index"], row["code"], row["field"]) for row in answer["rejected"]] == [
        (2, "UNKNOWN_EVENT_TYPE", "type"),
        (3, "INVALID_VALUE", "data.tokens"),
        (5, "invalid", ""),
    ]
    assert answer["rejected"][0]["idempotencyKey"] == "b"
    assert total(world, metric) == 20


def test_batch_as_lines_and_packed(world: World, metric: str) -> None:
    lines = "\n".join(json.dumps(event(f"k{n}")) for n in range(3)).encode()
    assert batch(world, lines, "application/x-ndjson")[1]["accepted"] == 3
    packed = gzip.compress(json.dumps([event("z1"), event("z2")]).encode())
    assert batch(world, packed, **{"Content-Encoding": "gzip"})[1]["accepted"] == 2
    assert total(world, metric) == 50


def test_batches_that_cannot_be_taken(world: World, metric: str) -> None:
    assert batch(world, json.dumps([event("a", type="nope")]).encode())[0] == 422
    assert batch(world, b"[{")[0] == 400
    assert batch(world, b"[]")[0] == 400
    assert batch(world, b"\xff\xfe")[0] == 400
    assert batch(world, b"not gzip", **{"Content-Encoding": "gzip"})[0] == 400
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    assert batch(world, bomb, **{"Content-Encoding": "gzip"})[0] == 413
    assert batch(world, json.dumps([event(f"k{n}") for n in range(1001)]).encode())[0] == 413
    assert MeterEvent.objects.count() == 0


def test_a_broken_line_is_rejected_alone(world: World, metric: str) -> None:
    good = [json.dumps(event(f"k{n}")) for n in range(2)]
    body = "\r\n".join([good[0], '{"type":', "", "[1]", good[1], "{" * 2_000]).encode()
    status, answer = batch(world, body, "application/x-ndjson")
    assert (status, answer["accepted"]) == (202, 2)
    assert [(entry["index"], entry["code"]) for entry in answer["rejected"]] == [
        (1, "malformed"),
        (2, "invalid"),
        (4, "malformed"),
    ]
    assert total(world, metric) == 20
    assert batch(world, b"{\n}\n", "application/x-ndjson")[0] == 400


def test_more_lines_than_a_batch_may_have(world: World, metric: str) -> None:
    assert batch(world, b"5\n" * 3_000_000, "application/x-ndjson")[0] == 413
    line = json.dumps(event("k")).encode() + b"\n"
    assert batch(world, line * 1001, "application/x-ndjson")[0] == 413
    assert batch(world, b"\n" * 2_000 + line, "application/x-ndjson")[1]["accepted"] == 1


def test_all_members_of_a_packed_body_count(world: World, metric: str) -> None:
    lines = [json.dumps(event(f"k{n}")).encode() + b"\n" for n in range(2)]
    packed = b"".join(gzip.compress(line) for line in lines)
    assert batch(world, packed, "application/x-ndjson", **{"Content-Encoding": "x-gzip"})[1]["accepted"] == 2
    assert total(world, metric) == 20


@pytest.mark.parametrize(
    ("spoil", "coding", "status"),
    [
        (lambda packed: packed[:-9], "gzip", 400),
        (lambda packed: packed + b"tail", "gzip", 400),
        (lambda packed: packed + gzip.compress(b" " * 11_000_000), "gzip", 413),
        (lambda packed: packed, "br", 415),
    ],
)
def test_packed_bodies_that_cannot_be_read(
    world: World, metric: str, spoil: Callable[[bytes], bytes], coding: str, status: int
) -> None:
    packed = gzip.compress(json.dumps([event("k")]).encode())
    assert batch(world, spoil(packed), **{"Content-Encoding": coding})[0] == status
    assert total(world, metric) == 0


@pytest.mark.parametrize(("levels", "status"), [(100, 202), (101, 400), (900, 400), (100_000, 400)])
@pytest.mark.parametrize("source", ["app", "an\\u0041pp"])
def test_data_nests_to_a_depth(world: World, metric: str, levels: int, status: int, source: str) -> None:
    nested = "[" * (levels - 1) + "]" * (levels - 1)
    body = json.dumps(event("k", data="@")).replace('"@"', f'{{"tokens":10,"n":{nested}}}').replace("app", source)
    answer = world.api.client.post(
        "/v0/events",
        data=body.encode(),
        content_type="application/json",
        headers={"Authorization": f"Bearer {world.secret}"},
    )
    assert answer.status_code == status, answer.content
    assert "nest" in answer.content.decode().lower() or status == 202
    assert total(world, metric) == (10 if status == 202 else 0)


def test_wide_data_is_not_deep(world: World, metric: str) -> None:
    world.api.post("/v0/events", event("k", data={"tokens": 10, "parts": [{"a": [1]}] * 200}), expect=202)
    assert total(world, metric) == 10


def test_what_nobody_foresaw_has_a_body_too(world: World, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.metering.api.ingest.check_events", lambda *_, **__: 1 / 0)
    assert world.api.post("/v0/events", event("k"), expect=500)["code"] == "INTERNAL_ERROR"


def test_paths_that_nobody_serves(world: World) -> None:
    assert world.api.call("get", "/v0/events/nothing/here", expect=404).json()["code"] == "NOT_FOUND"


def test_same_key_counts_once_whatever_the_timestamp(world: World, metric: str) -> None:
    world.api.post("/v0/events", event("k", timestamp="2026-01-05T10:00:00Z"), expect=202)
    drain()
    world.api.post("/v0/events", event("k", timestamp="2026-01-25T10:00:00Z"), expect=202)
    assert total(world, metric) == 10
    assert EventConflict.objects.count() == 0


def test_same_key_with_other_content_is_reported_and_the_first_stands(world: World, metric: str) -> None:
    first = world.api.post("/v0/events", event("k"), expect=202)["id"]
    world.api.post("/v0/events", event("k", data={"tokens": 999}), expect=202)  # in the same merge
    drain()
    world.api.post("/v0/events", event("k", data={"tokens": 5}), expect=202)  # in a later one
    assert total(world, metric) == 10
    conflicts = EventConflict.objects.order_by("pk")
    assert [c.content["data"]["tokens"] for c in conflicts] == [999, 5]
    assert {c.first_event_id for c in conflicts} == {first}


def test_events_before_their_customer_are_linked_when_it_appears(world: World, metric: str) -> None:
    world.api.post("/v0/events", event("k", subject=None, externalSubject="late-1"), expect=202)
    drain()
    listed = world.api.get(f"/v0/billableMetrics/{metric}/events?{MONTH}")["events"]
    assert (listed[0]["subject"], listed[0]["externalSubject"]) == ("", "late-1")
    customer = world.customer(externalId="late-1")
    assert world.api.get(f"/v0/billableMetrics/{metric}/meter?{MONTH}&subject={customer}")["totalValue"] == 10
    listed = world.api.get(f"/v0/billableMetrics/{metric}/events?{MONTH}&subject={customer}")["events"]
    assert listed[0]["subject"] == customer


def test_a_poison_row_goes_to_the_dead_letters_and_blocks_nobody(world: World, metric: str) -> None:
    # Two values that fit, and a sum that does not: only the row that breaks the window is set aside.
    big = "9" * 26
    for n in range(40):
        world.api.post(
            "/v0/events",
            event(f"k{n}", data={"tokens": int(big) * 100 if n < 2 else 1}),
            expect=400 if n < 2 else 202,
        )
    for n in range(12):
        world.api.post("/v0/events", event(f"big{n}", data={"tokens": int(big)}, subject=f"s{n % 2}"), expect=202)
    drain()
    assert MeterEvent.objects.count() + DeadLetter.objects.filter(code="UNMERGEABLE").count() == 38 + 12
    assert merge_buckets(buckets=[0]).taken == 0


def test_raw_list_is_newest_first_and_paged(world: World, metric: str) -> None:
    for n in range(25):
        world.api.post("/v0/events", event(f"k{n}", timestamp=f"2026-01-05T10:00:{n:02d}Z"), expect=202)
    drain()
    page = world.api.get(f"/v0/billableMetrics/{metric}/events?{MONTH}")
    assert len(page["events"]) == 20
    assert page["events"][0]["time"] == "2026-01-05T10:00:24Z"
    assert page["pagination"] == {"limit": 20, "offset": 0, "total": 25}
    world.api.call("get", f"/v0/billableMetrics/{metric}/events?{MONTH}&limit=201", expect=400)


def test_meter_pages_groups_and_refuses_unknown_ones(world: World) -> None:
    metric = world.metric(world.product(), groupBy={"model": "$.model"})
    for n, model in enumerate(["a", "b", "b", "c", "c", "c"]):
        world.api.post("/v0/events", event(f"k{n}", data={"tokens": 1, "model": model}), expect=202)
    drain()
    url = f"/v0/billableMetrics/{metric}/meter?{MONTH}"
    page = world.api.get(f"{url}&groupBy=model&groupLimit=2")
    assert page["groupCount"] == 3
    assert {g["groupBy"]["model"]: g["value"] for g in page["groupedValues"]} == {"b": 2, "c": 3}
    assert page["totalValue"] == 6
    filtered = world.api.get(url + "&filterGroupBy=" + '{"model":["a","b"]}')
    assert filtered["totalValue"] == 3
    world.api.call("get", f"{url}&groupBy=colour", expect=400)
    world.api.call("get", f"{url}&filterGroupBy=[1]", expect=400)
    world.api.call("get", f"/v0/billableMetrics/{metric}/meter?to=2026-01-01", expect=400)
