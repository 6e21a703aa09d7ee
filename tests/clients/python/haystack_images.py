"""Operations of Haystack's image generator."""

import base64
import os
from collections.abc import Callable
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    from haystack.components.generators import OpenAIImageGenerator
    from haystack.utils import Secret

    def generate(**options: Any) -> Any:
        generator: Any = OpenAIImageGenerator(
            api_key=Secret.from_token(key),
            api_base_url=f"{url}/openai/v1",
            max_retries=0,
            **options,
        )
        generator.warm_up()
        [made] = generator.run("a red circle", size="64x64")["images"]
        return base64.b64decode(made)[1:4].decode()

    return {
        "generate": generate,
        "generate with klein's name": lambda: generate(model="flux-2-klein-4b"),
        "an error": lambda: generate(model="nothing"),
    }
