"""Operations of fal's client of PyPI, which takes its hosts from the environment at import."""

import base64
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

MODEL = "fal-ai/flux-2/klein/4b"
SMALL = {"prompt": "a red circle", "image_size": {"width": 64, "height": 64}}


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    host = urlsplit(url).netloc
    os.environ |= {"FAL_RUN_HOST": f"{host}/fal/run", "FAL_QUEUE_RUN_HOST": f"{host}/fal/queue"}
    fal: Any = __import__("fal_client")
    client = fal.SyncClient(key=key)

    def kinds(result: Any) -> list[str]:
        urls = [made["url"] for made in result["images"]]
        return [httpx.get(made, trust_env=False).content[1:4].decode() for made in urls]

    def submit() -> Any:
        handle = client.submit(MODEL, arguments=SMALL)
        result = handle.get()
        return [kinds(result), type(handle.status()).__name__]

    def subscribe() -> Any:
        states: list[str] = []
        result = client.subscribe(
            MODEL,
            arguments=SMALL,
            with_logs=True,
            on_queue_update=lambda status: states.append(type(status).__name__),
        )
        return [kinds(result), states[-1]]

    def follow() -> Any:
        events = list(client.submit(MODEL, arguments=SMALL).iter_events(interval=0.05))
        return type(events[-1]).__name__

    def cancel() -> Any:
        long = {"prompt": "x", "num_inference_steps": 50, "num_images": 4}
        handle = client.submit(MODEL, arguments=long)
        handle.cancel()
        return handle.get()

    uri = fal.encode(base64.b64decode(image), "image/png")
    return {
        "run": lambda: kinds(client.run(MODEL, arguments=SMALL)),
        "submit, status, result": submit,
        "subscribe": subscribe,
        "iter_events": follow,
        "edit": lambda: kinds(client.run(f"{MODEL}/edit", arguments=SMALL | {"image_urls": [uri]})),
        "cancel": cancel,
        "an error": lambda: client.run(MODEL, arguments=SMALL | {"num_images": 9}),
    }
