"""Lists the servers that klein is compared with, and how each is run."""

from dataclasses import dataclass, replace

from benchmarks.peer_clients import (
    Ask,
    ask_cog,
    ask_directly,
    ask_jobs,
    ask_klein,
    ask_litserve,
    run_klein,
)
from benchmarks.peer_servers.job import PICTURES

SERVERS = "benchmarks.peer_servers"
BARE = (f"{SERVERS}.bare",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server, and how it is run."""

    title: str
    requirements: tuple[str, ...]  # of its environment; none: klein
    ask: Ask
    commands: tuple[tuple[str, ...], ...]  # with PORT for the port; the first one listens
    uses_redis: bool = False
    draws: bool = False  # also with the built-in model
    environ: tuple[tuple[str, str], ...] = ()  # with PORT for the port

    @property
    def environment(self) -> str:
        """The name of its environment."""
        return self.title.lower().replace(" ", "-")

    @property
    def drawing(self) -> "Peer":
        """Return this server around the built-in model. klein is then started by `klein up`."""
        if not self.requirements:
            return replace(self, commands=(("-m", "app.cli", "up"),), uses_redis=False)
        return replace(self, environ=(*self.environ, ("PEER_JOB", PICTURES)))


KLEIN = Peer(
    title="klein",
    requirements=(),
    ask=ask_klein,
    commands=(
        ("-m", "app.cli", "api"),
        ("-m", "benchmarks.fixed_worker", "benchmarks.short_engine"),
        ("-m", "app.cli", "courier"),
    ),
    uses_redis=True,
    draws=True,
)
RUN = replace(KLEIN, title="klein, run", ask=run_klein)
COG = Peer(
    title="cog",
    requirements=("cog==0.23.1",),
    ask=ask_cog,
    commands=(("-m", "cog.server.http", "--host", "127.0.0.1"),),
    draws=True,
    environ=(
        ("PORT", "PORT"),
        ("COG_PREDICT_TYPE_STUB", "benchmarks/peer_servers/cog_predictor.py:Predictor"),
        ("COG_LOG_LEVEL", "warning"),
    ),
)
FASTAPI = Peer(
    title="FastAPI",
    requirements=("fastapi==0.165.0", "uvicorn==0.54.0"),
    ask=ask_directly,
    commands=(("-m", f"{SERVERS}.fastapi_alone", "PORT"),),
    draws=True,
)
RQ = Peer(
    title="RQ and FastAPI",
    requirements=("rq==3.0.0", "fastapi==0.165.0", "uvicorn==0.54.0"),
    ask=ask_jobs,
    commands=(("-m", f"{SERVERS}.rq_fastapi", "PORT"), ("-m", f"{SERVERS}.rq_fastapi", "worker")),
    uses_redis=True,
)
CELERY = Peer(
    title="Celery and FastAPI",
    requirements=("celery[redis]==5.7.0", "fastapi==0.165.0", "uvicorn==0.54.0"),
    ask=ask_jobs,
    commands=(
        ("-m", f"{SERVERS}.celery_fastapi", "PORT"),
        ("-m", f"{SERVERS}.celery_fastapi", "worker"),
    ),
    uses_redis=True,
)
PEERS = (
    KLEIN,
    RUN,
    COG,
    FASTAPI,
    Peer(
        title="LitServe",
        requirements=("litserve==0.2.19",),
        ask=ask_litserve,
        commands=(("-m", f"{SERVERS}.litserve_server", "PORT"),),
        draws=True,
    ),
    Peer(
        title="BentoML",
        requirements=("bentoml==1.4.40",),
        ask=ask_directly,
        commands=(("-m", "bentoml", "serve", f"{SERVERS}.bentoml_service:Draw", "--port", "PORT"),),
        draws=True,
    ),
    RQ,
    CELERY,
)
SHORT = (KLEIN, RUN, FASTAPI)
"""Servers that run with klein's own packages, so that a short run installs nothing."""
