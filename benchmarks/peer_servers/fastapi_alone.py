"""FastAPI alone: the route does the job in a thread."""

import sys
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, Response

from benchmarks.peer_servers.job import load_job

draw = load_job()
app = FastAPI()


@app.post("/draw")
def answer(
    prompt: Annotated[str, Body()], width: Annotated[int, Body()], height: Annotated[int, Body()]
) -> Response:
    """Draw, and return the PNG."""
    return Response(draw(prompt, width, height), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
