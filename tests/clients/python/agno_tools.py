"""Operations of agno's image tool, which takes its base URL from the environment."""

import os
from collections.abc import Callable
from typing import Any

import httpx


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    os.environ |= {"OPENAI_BASE_URL": f"{url}/openai/v1", "AGNO_TELEMETRY": "false"}
    dalle: Any = __import__("agno.tools.dalle", fromlist=["DalleTools"]).DalleTools

    def create(**options: Any) -> Any:
        result = dalle(api_key=key, size="256x256", **options).create_image("a red circle")
        return [
            httpx.get(made.url, trust_env=False).content[1:4].decode() for made in result.images
        ]

    return {
        "create_image": create,
        "two images": lambda: create(model="dall-e-2", n=2),
        "an error": lambda: dalle(api_key="wrong").create_image("x").content,
    }
