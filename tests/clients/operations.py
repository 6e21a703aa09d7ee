"""What each operation of each vendor's client must give, and what each error must say. docs/clients.md lists the operations."""

from collections.abc import Mapping

Table = Mapping[str, Mapping[str, object]]
"""Expectations by client and operation. A client is the name of its script in `node` or `python`."""

MODEL = "flux-2-klein-4b"
OPENAI_SDK: dict[str, object] = {
    "generate": [["png", "png"], 64],
    "generate by URL": "png",
    "edit": ["png"],
    "edit two images": ["png"],
    "stream with partial images": [
        ["image_generation.partial_image", "image_generation.completed"],
        "png",
        0,
    ],
    "stream an edit": ["image_edit.completed"],
    "variation": ["png"],
    "models": ["flux-2-klein-4b", True, "dall-e-3"],
    "edit an uploaded file": [["png"], "vision", True],
}

REPLICATE: Table = {
    "replicate": {
        "run": ["png"],
        "run a version": ["png"],
        "edit an open file": ["png"],
        "create, wait": ["succeeded", "png"],
        "create in a deployment": True,
        "cancel": "canceled",
        "list": True,
        "models": [MODEL],
        "search": [MODEL],
        "files": [{"order": 17}, True, True],
        "account, hardware, collections": ["user", [], []],
        "deployments, trainings": [[], []],
        "webhook secret": True,
    },
    "replicate-mcp": {
        "create_models_predictions": "succeeded",
        "create_deployments_predictions": f"black-forest-labs/{MODEL}",
        "get_predictions, cancel_predictions": [True, "canceled"],
        "list_predictions": True,
        "list_models, get_models_readme": [[MODEL], True],
        "search_models, get_models, list_models_versions, list_collections": [True] * 4,
        "list_deployments, list_trainings": [0, 0],
        "list_files": True,
        "get_account, list_hardware": ["user", []],
        "get_default_webhooks_secret": "whsec_",
    },
    "ai-sdk-replicate": {
        "generate": [["png", 64]],
        "two images": 2,
        "edit two images": ["png"],
    },
    "replicate_2": {
        "run": ["PNG"],
        "edit": ["PNG"],
        "create, cancel": "canceled",
        "list": True,
        "models": ["flux-2-klein-4b"],
        "search": ["flux-2-klein-4b"],
        "versions": 1,
        "readme": True,
        "files": True,
        "account": "user",
        "collections, deployments, trainings, hardware": [0, 0, 0, []],
        "webhook secret": "whsec_",
    },
}
OPENAI: Table = {
    "openai": OPENAI_SDK,
    "openai6": OPENAI_SDK,
    "ai-sdk-openai": {
        "@ai-sdk/openai generate": ["png", "png"],
        "@ai-sdk/openai edit": ["png"],
        "@ai-sdk/openai-compatible generate": ["png", "png"],
        "@ai-sdk/openai-compatible edit": ["png"],
    },
    "tanstack": {"generate": ["png"], "edit": ["png"]},
}
BFL: Table = {
    "ai-sdk-bfl": {"generate": ["png"], "aspect ratio": ["png"], "edit": ["png"]},
}
FAL: Table = {
    "fal": {
        "run": ["png"],
        "subscribe": [["png"], "COMPLETED", 36],
        "subscribe by stream": [["png"], "COMPLETED"],
        "edit": ["png"],
        "edit an uploaded file": ["png"],
    },
}
FAL_BY_TLS: Table = {
    "fal_python": {
        "run": ["PNG"],
        "submit, status, result": [["PNG"], "Completed"],
        "subscribe": [["PNG"], "Completed"],
        "iter_events": "Completed",
        "edit": ["PNG"],
    },
}
WEB_UI: Table = {
    "webui": {
        "txt2img": [[[64, 64], [64, 64]], [7, 8]],
        "img2img": [[64, 64]],
        "models, samplers, schedulers": [["flux-2-klein-4b"], ["Euler"], ["simple"]],
        "set and get the model": [None, "flux-2-klein-4b"],
        "progress, wait": [0.0, None],
        "interrupt, skip": [{}, {}],
        "loras, upscalers, scripts": [[], [], {"txt2img": [], "img2img": []}],
    },
}
FRAMEWORKS: Table = {
    "litellm_images": {
        "image_generation": ["PNG", "PNG"],
        "image_generation with OpenAI's name": ["PNG"],
        "image_generation of Azure": ["PNG"],
        "aimage_generation": ["PNG"],
        "image_edit": ["PNG"],
        "image_edit of two images": ["PNG"],
    },
    "haystack_images": {"generate": "PNG", "generate with klein's name": "PNG"},
    "langchain_images": {
        "generate": ["PNG"],
        "two images": ["PNG", "PNG"],
        "generate with klein's name": ["PNG"],
    },
    "agno_tools": {"create_image": ["PNG"], "two images": ["PNG", "PNG"]},
}

ANSWERS: Table = {**REPLICATE, **OPENAI, **BFL, **FAL, **WEB_UI, **FRAMEWORKS}
"""What each operation gives."""

ERRORS: Table = {
    **{
        client: {"an error": "num_outputs"}
        for client in ("replicate", "replicate-mcp", "replicate_2")
    },
    **{client: {"an error": "400 size: send WIDTHxHEIGHT"} for client in ("openai", "openai6")},
    "ai-sdk-bfl": {"an error": "404 The model is not served here"},
    "fal": {"cancel": "400", "an error": "422"},
    "webui": {"an error": "prompt: must not be empty"},
    **{
        client: {"an error": "The model `nothing` does not exist here"}
        for client in ("litellm_images", "haystack_images", "langchain_images")
    },
}
"""A part of the text of each error."""

ERRORS_BY_TLS: Table = {"fal_python": {"cancel": "was cancelled", "an error": "num_images"}}
