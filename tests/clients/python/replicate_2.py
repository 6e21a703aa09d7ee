"""Operations of Replicate's client of PyPI, version 2."""

import base64
from collections.abc import Callable
from typing import Any

from replicate import Replicate

OWNER, NAME = "black-forest-labs", "flux-2-klein-4b"
SMALL: dict[str, Any] = {
    "prompt": "a red circle",
    "width": 64,
    "height": 64,
    "output_format": "png",
}


def operations(url: str, key: str, image: str) -> dict[str, Callable[[], Any]]:
    client: Any = Replicate(bearer_token=key, base_url=f"{url}/replicate/v1", max_retries=0)

    def run() -> Any:
        return [file.read()[1:4].decode() for file in client.run(f"{OWNER}/{NAME}", input=SMALL)]

    def edit() -> Any:
        uri = f"data:image/png;base64,{image}"
        files = client.run(f"{OWNER}/{NAME}", input=SMALL | {"images": [uri]})
        return [file.read()[1:4].decode() for file in files]

    def create_and_cancel() -> Any:
        long = {"prompt": "x", "num_inference_steps": 50, "num_outputs": 4}
        created = client.models.predictions.create(
            model_owner=OWNER, model_name=NAME, input=long, prefer="wait=0"
        )
        return client.predictions.cancel(prediction_id=created.id).status

    def files() -> Any:
        created = client.files.create(content=base64.b64decode(image))
        listed = [file.id for file in client.files.list()]
        client.files.delete(file_id=created.id)
        return created.id in listed

    return {
        "run": run,
        "edit": edit,
        "create, cancel": create_and_cancel,
        "list": lambda: len(list(client.predictions.list())) > 0,
        "models": lambda: [model.name for model in client.models.list()],
        "search": lambda: [model.name for model in client.models.search(body="klein").results],
        "versions": lambda: len(
            client.models.versions.list(model_owner=OWNER, model_name=NAME).results
        ),
        "readme": lambda: NAME in client.models.readme.get(model_owner=OWNER, model_name=NAME),
        "files": files,
        "account": lambda: client.account.get().type,
        "collections, deployments, trainings, hardware": lambda: [
            len(list(client.collections.list())),
            len(list(client.deployments.list())),
            len(list(client.trainings.list())),
            client.hardware.list(),
        ],
        "webhook secret": lambda: client.webhooks.default.secret.get().key[:6],
        "an error": lambda: client.run(f"{OWNER}/{NAME}", input=SMALL | {"num_outputs": 9}),
    }
