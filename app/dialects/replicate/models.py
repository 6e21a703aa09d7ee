"""Names the models and their versions as Replicate does. Does no I/O."""

import hashlib

from app.dialects.model_names import NAMES
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel

OWNER = "black-forest-labs"
_LORA = "-lora"  # the name of a base model that takes LoRAs ends so
_KINDS = {name: kind for kind, name in NAMES.items()}
_DISTILLED = NAMES[CheckpointKind.DISTILLED]
_PUBLISHED = {
    _DISTILLED: "8e9c42d77b10a2a41af823ac4500f7545be6ebc4e745830fc3f3de10de200542",
    NAMES[
        CheckpointKind.BASE_9B
    ]: "b037b94bdba7e4a7454b68e9dc6cf8e98c83f0f216fe5474144f52f69420c95c",
}
MODEL_NAMES = (*_KINDS, *(name + _LORA for name, kind in _KINDS.items() if kind.is_guided))
# if the version at Replicate is not known, an id of the same form
VERSIONS = {
    name: _PUBLISHED.get(name) or hashlib.sha256(name.encode()).hexdigest() for name in MODEL_NAMES
}
VERSION = VERSIONS[_DISTILLED]


def check_model(owner: str, name: str) -> None:
    """Check that the model exists. Raises UnknownModel."""
    if owner != OWNER or name not in MODEL_NAMES:
        raise UnknownModel(f"{owner}/{name}")


def model_of(version: str | None) -> str:
    """Return the model of a version: an id, or owner/name with or without an id. Raises InvalidInput."""
    name, _, version_id = (version or "").rpartition(":")
    for model, known in VERSIONS.items():
        qualified = f"{OWNER}/{model}"
        if (name in {"", qualified} and version_id == known) or (
            not name and version_id == qualified
        ):
            return model
    message = f"send {OWNER}/{_DISTILLED}, or its version {VERSION}"
    raise InvalidInput(FieldProblem(field="version", message=message))


def base_name(name: str) -> str:
    """Return the name that the dialects share, without the mark of LoRAs."""
    return name.removesuffix(_LORA)


def kind_of(name: str) -> CheckpointKind:
    """Return the checkpoint kind of a model."""
    return _KINDS[base_name(name)]


def takes_loras(name: str) -> bool:
    """Return whether the input of a model has LoRAs."""
    return name.endswith(_LORA)


def shown_name(name: str, *, has_loras: bool) -> str:
    """Return the name under which a prediction is shown."""
    return name + _LORA if has_loras and kind_of(name).is_guided else name
