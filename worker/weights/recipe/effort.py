"""How long the recipe trains and how carefully it measures."""

from dataclasses import asdict, dataclass

from worker.weights.recipe.autoencoder import BATCH as AUTOENCODER_BATCH
from worker.weights.recipe.autoencoder import MEASURED_PICTURES, STATISTICS_PICTURES
from worker.weights.recipe.grid import COLUMNS
from worker.weights.recipe.straighten import BATCH as STRAIGHT_BATCH
from worker.weights.recipe.tokenizer import SENTENCES
from worker.weights.recipe.transformer import BATCH

BASE_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How many steps each phase takes; each goes on from the one before."""

    autoencoder: int = 2_000
    transformer: int = 13_000
    transformer_again: int = 2_000
    decoder: int = 4_000  # which learns on once the transformer has learned the latents
    straighten: int = 1_500  # mostly on the model's own trajectories
    base: int = 600  # from the end of the last phase

    def scaled(self, scale: float) -> "Steps":
        """Return so much more or less of each, at least one of those that are taken."""
        return Steps(**{name: max(min(1, n), round(n * scale)) for name, n in asdict(self).items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much one step and one measurement takes."""

    sentences: int = SENTENCES  # that the tokenizer learns from
    autoencoder_batch: int = AUTOENCODER_BATCH
    statistics_pictures: int = STATISTICS_PICTURES
    measured_pictures: int = MEASURED_PICTURES
    batch: int = BATCH  # of the transformer
    straight_batch: int = STRAIGHT_BATCH
    base_batch: int = BASE_BATCH
    share: float = 1.0  # of the evaluation's samples
    columns: int = COLUMNS  # of the grid of pictures


# Tries the recipe itself in a minute; the model that it gives draws nothing.
REHEARSAL = Effort(
    sentences=300,
    autoencoder_batch=3,
    statistics_pictures=16,
    measured_pictures=16,
    batch=4,
    straight_batch=4,
    base_batch=4,
    share=0.002,
    columns=1,
)
