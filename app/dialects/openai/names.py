"""Maps the model names that clients of OpenAI's API send to the models of klein. Does no I/O."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from app.dialects.model_names import NAMES, default_name, model_slug, shared_name
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import UnknownModel

# the image models of OpenAI's API; the patterns cover dated and coming ones and are not listed
OPENAI_MODELS = (
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "chatgpt-image-latest",
    "dall-e-2",
    "dall-e-3",
    "gpt-image-*",
    "dall-e-*",
)
_BASE_ON_HUB = re.compile(r"(flux-2-klein)-base-(4b|9b)")  # FLUX.2-klein-base-4B


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNames:
    """The names that mean what is served, besides klein's own."""

    aliases: tuple[str, ...] = OPENAI_MODELS  # names, and patterns with *

    @classmethod
    def of(cls, configured: tuple[str, ...]) -> "ModelNames":
        """Return the configured names, or those of OpenAI's models."""
        return cls(aliases=configured) if configured else cls()

    def find_slug(
        self, name: str | None, served: frozenset[CheckpointKind], *, is_edit: bool
    ) -> str:
        """Return the slug for a model name on this route. Raises UnknownModel."""
        short = default_name(served) if not name or self.is_alias(name) else _own_name(name)
        if short not in NAMES.values():
            raise UnknownModel(name)
        return model_slug(short, is_edit=is_edit)

    def is_alias(self, name: str) -> bool:
        """Return whether a name is one of another vendor's models."""
        return any(fnmatchcase(name, alias) for alias in self.aliases)

    def list_all(self, served: frozenset[CheckpointKind]) -> list[str]:
        """List klein's own names of what is served, and the aliases."""
        own = [NAMES[kind] for kind in sorted(served)]
        return own + [alias for alias in self.aliases if "*" not in alias] if own else []


def _own_name(name: str) -> str:
    """Return klein's name for a model: a hub id or OWNER/NAME, in any spelling, means the same."""
    if name in NAMES.values():
        return name
    last = shared_name(name.rpartition("/")[2].strip().lower().replace(".", "-"))
    return _BASE_ON_HUB.sub(r"\1-\2-base", last)
