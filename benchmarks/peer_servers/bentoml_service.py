"""BentoML: a service with one worker of one thread. `bentoml serve` runs it."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peer_servers.job import load_job


@bentoml.service(workers=1, threads=1, traffic={"timeout": 120})
class Draw:
    """Draws."""

    def __init__(self) -> None:
        """Load the model."""
        self._draw = load_job()

    @bentoml.api
    def draw(
        self, prompt: str, width: int, height: int
    ) -> Annotated[Path, ContentType("image/png")]:
        """Draw, and return the PNG."""
        with NamedTemporaryFile(suffix=".png", delete=False) as file:
            file.write(self._draw(prompt, width, height))
        return Path(file.name)
