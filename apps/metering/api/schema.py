"""The ways in for events, described for the schema: they are plain views, so nothing describes them by itself."""

from typing import Any

from apps.metering.api.ingest import BATCH_EVENTS, BATCH_PATH, EVENT_PATH

_TEXT = {"type": "string", "maxLength": 255}
_EVENT = {
    "type": "object",
    "required": ["type", "source", "data"],
    "properties": {
        "type": {**_TEXT, "minLength": 1, "description": "Event type; a billable metric must count it."},
        "source": {**_TEXT, "minLength": 1},
        "subject": {**_TEXT, "description": "The customer's id; this or externalSubject is needed."},
        "externalSubject": {**_TEXT, "description": "The customer's externalId, before or after it exists."},
        "timestamp": {"type": "string", "format": "date-time", "description": "Now, when left out."},
        "data": {"type": "object", "additionalProperties": True},
        "idempotencyKey": {**_TEXT, "description": "Counted once, whatever the timestamp; made when left out."},
        "externalId": {**_TEXT, "pattern": "^[A-Za-z0-9_-]*$"},
        "namespace": {**_TEXT, "description": "The merchant's id, when given."},
    },
}
_ECHO = {
    "type": "object",
    "required": ["id", "object", "type", "source", "namespace", "timestamp", "idempotencyKey"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "event"},
        "type": {"type": "string"},
        "source": {"type": "string"},
        "namespace": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "idempotencyKey": {"type": "string"},
        "subject": {"type": "string"},
        "externalSubject": {"type": "string"},
        "externalId": {"type": "string"},
        "parked": {"const": True, "description": "Odd timing: kept, and counted only when it is released."},
        "parkedReason": {"enum": ["too_late", "too_early"]},
    },
}
_VERDICTS = {
    "type": "object",
    "required": ["object", "accepted", "parked", "repeated", "rejected"],
    "properties": {
        "object": {"const": "eventBatch"},
        "accepted": {"type": "integer", "description": "Committed; each is counted once, parked ones when released."},
        "parked": {"type": "integer", "description": "How many of these wait for release, for their odd timing."},
        "repeated": {"type": "integer", "description": "Events of a key that stood earlier in this very batch."},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "idempotencyKey", "code", "field", "message"],
                "properties": {
                    "index": {"type": "integer"},
                    "idempotencyKey": {"type": "string"},
                    "code": {"type": "string"},
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "message": {"type": "string"},
        "code": {"type": "string"},
    },
}
_REFUSALS = {
    "400": "The body cannot be read, or a field of the event is malformed.",
    "401": "No valid API key was sent.",
    "403": "The key may not send events, or not for that namespace.",
    "413": f"The body has more than 10 MiB, or more than {BATCH_EVENTS} events.",
    "415": "The body is packed with something else than gzip.",
    "429": "The key sent its events of this second; send these again after `Retry-After` seconds.",
    "503": "Events cannot be stored, or too many wait to be counted; send them again after `Retry-After` seconds.",
}


def describe_ingest(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the ways in for events to the schema (drf-spectacular calls this after it made the rest)."""
    schemas = result["components"]["schemas"]
    schemas |= {"EventRequest": _EVENT, "EventAccepted": _ECHO, "EventVerdicts": _VERDICTS}
    one = _operation("sendEvent", "Send one meter event; 202 means it is committed.", "EventRequest", "EventAccepted")
    one["responses"]["422"] = _answer("No billable metric counts events of this type.", "Error")
    batch = _operation(
        "sendEvents", "Send up to 1,000 meter events and get a verdict for each.", "EventRequest", "EventVerdicts"
    )
    events = {"type": "array", "items": _ref("EventRequest"), "minItems": 1, "maxItems": BATCH_EVENTS}
    batch["requestBody"]["content"] = {
        "application/json": {"schema": events},
        "application/x-ndjson": {
            "schema": {"type": "string", "description": "One event a line; a line that is no JSON is rejected alone."}
        },
    }
    batch["responses"]["422"] = _answer("None of the events could be taken.", "EventVerdicts")
    result["paths"] |= {EVENT_PATH: {"post": one}, BATCH_PATH: {"post": batch}}
    result["paths"] = dict(sorted(result["paths"].items()))
    return result


def _operation(name: str, text: str, request: str, accepted: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "description": text,
        "tags": ["events"],
        "security": [{"bearer": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {
            "202": _answer("Committed.", accepted),
            **{status: _answer(description, "Error") for status, description in _REFUSALS.items()},
        },
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
