"""The one name that text-to-image and edit share, in dialects where the input says which of them is meant; pure."""

from app.predictions.checkpoint_kind import CheckpointKind

NAMES = {CheckpointKind.DISTILLED: "flux-2-klein-4b", CheckpointKind.BASE: "flux-2-klein-4b-base"}
_TEXT, _EDIT = "-text-to-image", "-edit"


def model_slug(name: str, *, is_edit: bool) -> str:
    """Give the catalog's slug of a name."""
    return name + (_EDIT if is_edit else _TEXT)


def shared_name(slug: str) -> str:
    """Give the name that a slug belongs to; a name stays as it is."""
    return slug.removesuffix(_TEXT).removesuffix(_EDIT)
