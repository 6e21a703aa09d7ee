"""Operations of LangChain's image generator."""

from collections.abc import Callable
from typing import Any

import httpx
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    def generate(**options: Any) -> Any:
        wrapper: Any = DallEAPIWrapper(
            api_key=key, base_url=f"{url}/openai/v1", max_retries=0, size="64x64", **options
        )
        urls = wrapper.run("a red circle").split(wrapper.separator)
        return [httpx.get(made, trust_env=False).content[1:4].decode() for made in urls]

    return {
        "generate": generate,
        "two images": lambda: generate(n=2),
        "generate with klein's name": lambda: generate(model="flux-2-klein-4b"),
        "an error": lambda: generate(model="nothing"),
    }
