"""Operations of LiteLLM, with this server as the base URL of its providers."""

import asyncio
import base64
import io
import os
from collections.abc import Callable
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched at import
litellm: Any = __import__("litellm")
litellm.telemetry = False


def kinds(response: Any) -> list[str]:
    return [base64.b64decode(made.b64_json)[1:4].decode() for made in response.data]


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    server = {"api_base": f"{url}/openai/v1", "api_key": key, "max_retries": 0}
    model = "openai/flux-2-klein-4b"

    def file() -> io.BytesIO:
        content = io.BytesIO(base64.b64decode(image))
        content.name = "image.png"
        return content

    def generate(model: str = model, **options: Any) -> Any:
        return litellm.image_generation(
            "a red circle", model=model, size="64x64", **server, **options
        )

    return {
        "image_generation": lambda: kinds(generate(n=2)),
        "image_generation with OpenAI's name": lambda: kinds(generate("openai/gpt-image-1")),
        "image_generation of Azure": lambda: kinds(
            litellm.image_generation(
                "a red circle",
                model="azure/gpt-image-1",
                size="64x64",
                api_version="2026-01-01",
                **server | {"api_base": url},
            )
        ),
        "aimage_generation": lambda: kinds(
            asyncio.run(
                litellm.aimage_generation(
                    prompt="a red circle", model=model, size="64x64", **server
                )
            )
        ),
        "image_edit": lambda: kinds(
            litellm.image_edit(image=[file()], prompt="make it red", model=model, **server)
        ),
        "image_edit of two images": lambda: kinds(
            litellm.image_edit(image=[file(), file()], prompt="make it red", model=model, **server)
        ),
        "an error": lambda: generate("openai/nothing"),
    }
