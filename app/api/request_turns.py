"""Serves callers in turn, so that many requests of one delay those of another by a few requests at most.

A caller is the account of a key that was valid before, or else a client address.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.address_budget import network_of
from app.api.errors import ErrorRenderer, respond
from app.api.presented_keys import presented_keys
from app.fair_slots import FairSlots
from app.held import begin_to_hold, hold, release_held
from app.predictions.errors import TooManyRequests
from app.turns import NoTurn, Turns

ACCOUNT_TURNS = 16, 4  # requests that are served at once, and those of one caller
ADDRESS_TURNS = 6, 2
HOLD_S = (
    0.25  # the longest that a request counts: what takes longer waits, or has limits of its own
)
WAIT_S = 60.0  # for a turn
ACCOUNT_WAITING = 16_000, 8_000  # requests that wait for a turn, and those of one caller
ADDRESS_WAITING = 4_000, 1_000
BODY_COUNTS = 8  # for so many requests a waiting one counts that has a body, of which up to 64 KB are in memory
MAX_ACCOUNTS = 10_000  # of keys that are remembered
RETRY_AFTER_S = 1


class KnownCallers:
    """Remembers the accounts of keys that were valid, so that invented keys are not callers of their own."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, str] = OrderedDict()

    def remember(self, key: str, account: str) -> None:
        """Remember a key that was valid."""
        digest = hash(key)  # is seeded, and a collision costs a turn only
        self._accounts[digest] = account
        self._accounts.move_to_end(digest)
        if len(self._accounts) > MAX_ACCOUNTS:
            self._accounts.popitem(last=False)

    def account_of(self, connection: HTTPConnection) -> str | None:
        """Return the account of the key that a request presents; None where it was not valid before."""
        accounts = (self._accounts.get(hash(key)) for key in presented_keys(connection))
        return next((account for account in accounts if account), None)


class RequestTurns:
    """ASGI middleware that lets each request wait for its caller's turn.

    A request holds its turn until its response begins, it waits for something, or HOLD_S have passed; and in any case until the
    event loop has served the others, because most requests take no more than one of its rounds. What waited for a prediction
    takes another turn after that.
    """

    def __init__(self, app: ASGIApp, callers: KnownCallers, error_renderer: ErrorRenderer) -> None:
        self._app = app
        self._callers = callers
        self._error_renderer = error_renderer
        self._accounts = _Line(ACCOUNT_TURNS, ACCOUNT_WAITING)
        self._addresses = _Line(ADDRESS_TURNS, ADDRESS_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        account = self._callers.account_of(connection)
        line = self._addresses if account is None else self._accounts
        caller = account or network_of(connection.client.host if connection.client else "")
        try:
            await line.take_turn(caller, BODY_COUNTS if _has_body(connection) else 1)
        except NoTurn:
            refusal = TooManyRequests(
                "too many requests of this caller wait to be served; send fewer at once",
                retry_after_s=RETRY_AFTER_S,
            )
            await respond(self._error_renderer, scope, refusal)(scope, receive, send)
            return
        turn = _HeldTurn(line, caller)
        begin_to_hold(turn.take_again)
        turn.hold()

        async def send_and_give_back(message: Message) -> None:
            turn.give_back()
            await send(message)

        try:
            await self._app(scope, receive, send_and_give_back)
        finally:
            release_held()


class _Line:
    """Callers that take turns, with a limit on the requests that wait."""

    def __init__(self, turns: tuple[int, int], waiting: tuple[int, int]) -> None:
        self._turns = Turns(*turns, WAIT_S)
        self._waiting = FairSlots(*waiting)
        self.take_next = self._turns.take
        self.give_back = self._turns.give_back

    async def take_turn(self, caller: str, count: int) -> None:
        """Wait for a turn; the request counts as so many. Raises NoTurn."""
        if not self._waiting.take(caller, count):
            raise NoTurn
        try:
            await self.take_next(caller)
        finally:
            self._waiting.release(caller, count)


class _HeldTurn:
    """The turn that a request holds, at most one at a time."""

    def __init__(self, line: _Line, caller: str) -> None:
        self._line = line
        self._caller = caller
        self._timer: asyncio.TimerHandle | None = None  # while it is held

    def hold(self) -> None:
        """Hold the turn that was taken, for HOLD_S at most."""
        self._timer = asyncio.get_running_loop().call_later(HOLD_S, self.give_back)
        hold(self.give_back)

    def give_back(self) -> None:
        """Give the turn back, if it is held, after the event loop has served the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            asyncio.get_running_loop().call_soon(self._line.give_back, self._caller)

    async def take_again(self) -> None:
        """Wait for another turn. A request that gets none in time goes on: the limits of waiters bound how many do."""
        with suppress(NoTurn):
            await self._line.take_next(self._caller)
            self.hold()


def _has_body(connection: HTTPConnection) -> bool:
    return (
        connection.headers.get("Content-Length", "0") != "0"
        or "Transfer-Encoding" in connection.headers
    )
