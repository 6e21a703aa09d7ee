"""Operations of `webuiapi`, a client of Stable Diffusion web UI."""

import base64
import io
from collections.abc import Callable
from typing import Any

import webuiapi
from PIL import Image


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    api: Any = webuiapi.WebUIApi(
        baseurl=f"{url}/sdapi/v1", username="me", password=key, sampler="Euler", steps=2
    )
    small = {"prompt": "a red circle", "width": 64, "height": 64}

    def generate() -> Any:
        result = api.txt2img(**small, seed=7, batch_size=2)
        return [[picture.size for picture in result.images], result.info["all_seeds"]]

    def edit() -> Any:
        picture = Image.open(io.BytesIO(base64.b64decode(image)))
        return [edited.size for edited in api.img2img(images=[picture], **small).images]

    return {
        "txt2img": generate,
        "img2img": edit,
        "models, samplers, schedulers": lambda: [
            api.util_get_model_names(),
            api.util_get_sampler_names(),
            api.util_get_scheduler_names(),
        ],
        "set and get the model": lambda: [
            api.util_set_model("flux-2-klein-4b"),
            api.util_get_current_model(),
        ],
        "progress, wait": lambda: [api.get_progress()["progress"], api.util_wait_for_ready(0.1)],
        "interrupt, skip": lambda: [api.interrupt(), api.skip()],
        "loras, upscalers, scripts": lambda: [
            api.get_loras(),
            api.get_upscalers(),
            api.get_scripts(),
        ],
        "an error": lambda: api.txt2img(prompt="", width=64, height=64),
    }
