"""RQ and FastAPI: a route queues the job, another one waits for its result. The worker does not fork."""

import os
import sys
from typing import Annotated

import redis
import uvicorn
from fastapi import Body, FastAPI, Response
from rq import Queue, SimpleWorker
from rq.job import Job

from benchmarks.peer_servers.job import draw

WAIT_S = 60

connection = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2 * WAIT_S)
queue = Queue(connection=connection)
app = FastAPI()


@app.post("/jobs")
def create(prompt: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Queue a job, and return its id."""
    return {"id": queue.enqueue(draw, prompt).id}


@app.get("/jobs/{job_id}")
def wait(job_id: str) -> Response:
    """Wait for the PNG of a job."""
    result = Job.fetch(job_id, connection=connection).latest_result(timeout=WAIT_S)
    return Response(result and result.return_value, media_type="image/png")


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        SimpleWorker([queue], connection=connection).work(logging_level="WARNING")
    else:
        uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
