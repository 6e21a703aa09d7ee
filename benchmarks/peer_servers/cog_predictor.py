"""cog: its HTTP server, without the container that it is usually built into, around a predictor of one slot."""

from pathlib import Path
from tempfile import NamedTemporaryFile

import cog

from benchmarks.peer_servers.job import load_job


class Predictor(cog.BasePredictor):
    """Draws."""

    def setup(self) -> None:
        """Load the model."""
        self._draw = load_job()

    def predict(self, prompt: str, width: int, height: int) -> cog.Path:
        """Draw, and return the file."""
        with NamedTemporaryFile(suffix=".png", delete=False) as file:
            file.write(self._draw(prompt, width, height))
        return cog.Path(Path(file.name))
