"""BentoML: a service with one worker of one thread. `bentoml serve` runs it."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peer_servers.job import draw


@bentoml.service(workers=1, threads=1, traffic={"timeout": 120})
class Draw:
    """Draws."""

    @bentoml.api
    def draw(self, prompt: str) -> Annotated[Path, ContentType("image/png")]:
        """Draw, and return the PNG."""
        with NamedTemporaryFile(suffix=".png", delete=False) as file:
            file.write(draw(prompt))
        return Path(file.name)
