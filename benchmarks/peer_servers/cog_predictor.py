"""cog: its HTTP server, without the container that it is usually built into, around a predictor of one slot."""

from pathlib import Path
from tempfile import NamedTemporaryFile

import cog

from benchmarks.peer_servers.job import draw


class Predictor(cog.BasePredictor):
    """Draws."""

    def predict(self, prompt: str) -> cog.Path:
        """Draw, and return the file."""
        with NamedTemporaryFile(suffix=".png", delete=False) as file:
            file.write(draw(prompt))
        return cog.Path(Path(file.name))
