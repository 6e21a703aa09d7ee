"""The turns of callers, around an application of the test."""

import asyncio
from itertools import pairwise

import pytest

from app.api.errors import ErrorResponse
from app.api.request_turns import (
    ACCOUNT_TURNS,
    ADDRESS_TURNS,
    ADDRESS_WAITING,
    BODY_COUNTS,
    KnownCallers,
    RequestTurns,
)
from app.held import release_held, take_turn_again

KEY = "a-key"
MANY = 40


class Application:
    """Holds each request until `released`, and counts those inside for each path."""

    def __init__(self):
        self.released = asyncio.Event()
        self.inside = {}
        self.begins_response = False
        self.waits = False

    async def __call__(self, scope, _receive, send):
        name = scope["path"]
        self.inside[name] = self.inside.get(name, 0) + 1
        if self.begins_response:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if self.waits:
            release_held()
        await self.released.wait()


def scope(path, key=None, address="192.0.2.1"):
    headers = [(b"x-api-key", key.encode())] if key else []
    return {"type": "http", "path": path, "client": (address, 1), "headers": headers}


async def no_message(*_):
    """Receive or send nothing."""


def render(_scope):
    return lambda exc: ErrorResponse(status=429, body={"error": str(exc)})


async def served(application, *requests, serve=None):
    """Send requests and return how many of each path are inside once nothing moves any more."""
    callers = KnownCallers()
    callers.remember(KEY, "account")
    turns = RequestTurns(serve or application, callers, render)
    tasks = [asyncio.create_task(turns(request, no_message, no_message)) for request in requests]
    for _ in range(4 * MANY):
        await asyncio.sleep(0)
    counts = dict(application.inside)
    application.released.set()
    await asyncio.gather(*tasks)
    assert sum(application.inside.values()) == len(requests)
    return counts


@pytest.fixture
async def application():
    return Application()


async def test_caller_has_few_requests_served_at_once(application):
    """Of many requests of one account few are served at once. Another account, and an address, are served beside them."""
    flood = [scope("/flood", KEY) for _ in range(MANY)]
    counts = await served(application, *flood, scope("/other", "unknown"), scope("/file"))

    assert counts == {"/flood": ACCOUNT_TURNS[1], "/other": 1, "/file": 1}


async def test_invented_keys_are_one_caller(application):
    """Requests with keys that were never valid share the turns of their address. Another address has its own."""
    flood = [scope("/flood", f"invented {number}") for number in range(MANY)]
    counts = await served(application, *flood, scope("/other", address="192.0.2.2"))

    assert counts == {"/flood": ADDRESS_TURNS[1], "/other": 1}


@pytest.mark.parametrize("how", ["begins_response", "waits"])
async def test_request_that_waits_needs_no_turn(application, how):
    """A request that begins its response, or waits for the end of a prediction, gives its turn to the next one."""
    setattr(application, how, True)
    counts = await served(application, *[scope("/poll", KEY) for _ in range(MANY)])

    assert counts == {"/poll": MANY}


async def test_requests_that_waited_take_turns(application):
    """Requests that wait, and whose wait ends at once, are answered a few at a time."""
    ended = asyncio.Event()

    async def wait_and_answer(*request):
        release_held()
        await ended.wait()
        await take_turn_again()
        await application(*request)

    asyncio.get_running_loop().call_later(0, ended.set)
    counts = await served(
        application, *[scope("/poll", KEY) for _ in range(MANY)], serve=wait_and_answer
    )

    assert counts == {"/poll": ACCOUNT_TURNS[1]}


async def test_round_of_event_loop_serves_few_of_caller(application):
    """Requests that end at once hold their turn until the event loop has served others."""
    application.released.set()
    rounds: list[int] = []

    async def count_rounds():
        while len(rounds) < 10:
            rounds.append(application.inside.get("/flood", 0))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_rounds())
    await served(application, *[scope("/flood") for _ in range(MANY)])
    await counting

    steps = [after - before for before, after in pairwise(rounds)]
    assert max(steps) <= ADDRESS_TURNS[1]


@pytest.mark.parametrize(
    ("headers", "count"), [([], 1), ([(b"content-length", b"5")], BODY_COUNTS)]
)
async def test_waiting_requests_are_limited(application, headers, count):
    """Of many waiting requests of an address those above a limit are refused, sooner where they have bodies."""
    refused = []

    async def note_status(message):
        if message["type"] == "http.response.start":
            refused.append(message["status"])

    turns = RequestTurns(application, KnownCallers(), render)
    request = scope("/flood")
    request["headers"] = headers
    sent = ADDRESS_WAITING[1] // count + ADDRESS_TURNS[1] + 3
    tasks = [asyncio.create_task(turns(request, no_message, note_status)) for _ in range(sent)]
    for _ in range(4):
        await asyncio.sleep(0)
    refused_meanwhile = list(refused)
    application.released.set()
    await asyncio.gather(*tasks)

    assert refused_meanwhile == [429] * 3
