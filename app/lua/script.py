"""Loads the Lua scripts of this folder, and runs them in Redis by the names of their keys and arguments.

Each script begins with `local … = unpack(KEYS)` and `local … = unpack(ARGV)`, which name both. A line
`-- include FILE` puts the functions of another file before it.
"""

import hashlib
import re
from importlib import resources
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis import ConnectionPool
from redis.client import Pipeline
from redis.exceptions import NoScriptError

_INCLUDE = re.compile(r"^-- include (\w+\.lua)$", re.MULTILINE)
_NAMES = r"^local ([\w, ]+) = unpack\({}\)$"
_TEXTS: dict[str, str] = {}  # of all scripts, by SHA1
_LOADED: WeakKeyDictionary[ConnectionPool, set[str]] = WeakKeyDictionary()  # by this process

Value = bytes | str | int | float | None


class LuaScript:
    """A script, run by EVALSHA: only its hash is sent once the server has it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._keys = _names(text, "KEYS")
        self._arguments = _names(text, "ARGV")
        self._names = {*self._keys, *self._arguments}
        self._sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 -- as Redis names scripts
        _TEXTS[self._sha] = text

    def __call__(self, client: "redis.Redis", **values: Value) -> Any:
        """Run the script, or queue it if `client` is a pipeline: run that by `execute`.

        An argument of None is sent as ''. The last keys may be None and are left out.
        """
        call = self._call(values)
        try:
            return client.execute_command("EVALSHA", self._sha, *call)  # type: ignore[no-untyped-call]  # redis-py is untyped here
        except NoScriptError:  # the server restarted, failed over, or flushed its scripts
            return client.eval(self.text, *call)

    async def run(self, client: "redis.asyncio.Redis", **values: Value) -> Any:
        """Run the script as a call does, for a caller on an event loop."""
        call = self._call(values)
        try:
            return await client.execute_command("EVALSHA", self._sha, *call)  # type: ignore[no-untyped-call]  # as above
        except NoScriptError:
            return await client.eval(self.text, *call)

    def _call(self, values: dict[str, Value]) -> list[Any]:
        """Return the number of keys, the keys and the arguments."""
        if values.keys() != self._names:
            raise TypeError(
                f"name {', '.join(self._keys + self._arguments)}, not {', '.join(values)}"
            )
        keys = list(map(values.__getitem__, self._keys))
        while keys and keys[-1] is None:
            keys.pop()
        call = [len(keys), *keys]
        for name in self._arguments:
            value = values[name]
            call.append("" if value is None else value)
        return call


def load_script(name: str) -> LuaScript:
    """Load a script of this folder, with what it includes."""
    text = _read(f"{name}.lua")
    return LuaScript("".join(_read(file) for file in _INCLUDE.findall(text)) + text)


def execute(pipe: Pipeline) -> list[Any]:
    """Execute a pipeline that runs scripts, and load those that the server does not have.

    A server that lost a script after this process loaded it (a restart, a failover, SCRIPT FLUSH) runs the other
    commands before the error is known, so these run twice. They must allow that, as they must if the client
    repeats a transaction whose reply was lost.
    """
    commands = list(pipe.command_stack)
    shas = {arguments[1] for arguments, _ in commands if arguments[0] == "EVALSHA"}
    loaded = _LOADED.setdefault(pipe.connection_pool, set())
    _load(pipe, shas - loaded)
    loaded |= shas
    try:
        return pipe.execute()
    except NoScriptError:
        _load(pipe, shas)
        pipe.command_stack = commands
        return pipe.execute()


def _load(pipe: Pipeline, shas: set[str]) -> None:
    for sha in shas:
        pipe.immediate_execute_command("SCRIPT LOAD", _TEXTS[sha])  # type: ignore[no-untyped-call]  # redis-py is untyped here


def _read(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text("utf-8")


def _names(text: str, table: str) -> list[str]:
    match = re.search(_NAMES.format(table), text, re.MULTILINE)
    return match[1].split(", ") if match else []
