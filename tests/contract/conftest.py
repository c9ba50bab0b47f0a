"""The published client, as blocking code and as coroutines."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from paygentic_sdk import Paygentic

from tests.contract.caller import Caller


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, stack: dict[str, Any]) -> Iterator[Caller]:
    client = Paygentic(bearer_auth=stack["api_key"], server_url=stack["base_url"])
    if request.param == "sync":
        with client:
            yield Caller(client, None)
        return
    with asyncio.Runner() as runner:
        runner.run(client.__aenter__())
        try:
            yield Caller(client, runner.run)
        finally:
            # Connections are closed by the loop that made them.
            runner.run(client.__aexit__(None, None, None))
