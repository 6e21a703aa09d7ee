"""Celery and FastAPI: a route queues the task, another one waits for its result. The worker does not fork."""

import os
import sys
from base64 import b64decode, b64encode
from typing import Annotated

import uvicorn
from celery import Celery
from fastapi import Body, FastAPI, Response

from benchmarks.peer_servers.job import draw

url = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")
celery = Celery(__name__, broker=url, backend=url)
celery.conf.worker_prefetch_multiplier = 1
app = FastAPI()


@celery.task(name="draw")
def draw_task(prompt: str) -> str:
    """Draw in the worker, and return the PNG in base64: results are JSON."""
    return b64encode(draw(prompt)).decode()


@app.post("/jobs")
def create(prompt: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Queue a task, and return its id."""
    return {"id": draw_task.delay(prompt).id}


@app.get("/jobs/{job_id}")
def wait(job_id: str) -> Response:
    """Wait for the PNG of a task."""
    png = b64decode(celery.AsyncResult(job_id).get(timeout=60))
    return Response(png, media_type="image/png")


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        celery.worker_main(["worker", "--pool", "solo", "--loglevel", "WARNING"])
    else:
        uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
