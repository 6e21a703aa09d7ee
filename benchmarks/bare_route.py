"""Provides the baseline of `create`: a FastAPI route that only does one Redis SET."""

import os
import uuid

import redis
import uvicorn
from fastapi import FastAPI

app = FastAPI()
connection = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/set")
def set_one() -> dict[str, str]:
    """Write one key."""
    name = str(uuid.uuid4())
    connection.set(name, "x" * 300)
    return {"id": name}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["KLEIN_PORT"]), access_log=False, log_level="warning")
