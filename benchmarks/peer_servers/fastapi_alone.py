"""FastAPI alone: the route does the job in a thread."""

import sys
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, Response

from benchmarks.peer_servers.job import draw

app = FastAPI()


@app.post("/draw")
def answer(prompt: Annotated[str, Body(embed=True)]) -> Response:
    """Draw, and return the PNG."""
    return Response(draw(prompt), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
