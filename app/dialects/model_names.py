"""Maps between slugs and the name that text-to-image and edit share in some dialects. Does no I/O."""

from app.predictions.checkpoint_kind import CheckpointKind

NAMES = {
    CheckpointKind.DISTILLED: "flux-2-klein-4b",
    CheckpointKind.BASE: "flux-2-klein-4b-base",
    CheckpointKind.DISTILLED_9B: "flux-2-klein-9b",
    CheckpointKind.BASE_9B: "flux-2-klein-9b-base",
}
_TEXT, _EDIT = "-text-to-image", "-edit"


def model_slug(name: str, *, is_edit: bool) -> str:
    """Return the catalog's slug for a name."""
    return name + (_EDIT if is_edit else _TEXT)


def default_name(served: frozenset[CheckpointKind]) -> str:
    """Return the name of what is served, for a name of another model that means it."""
    is_default_served = CheckpointKind.DISTILLED in served or not served
    return NAMES[CheckpointKind.DISTILLED if is_default_served else min(served)]


def shared_name(slug: str) -> str:
    """Return the shared name of a slug. A shared name is returned unchanged."""
    return slug.removesuffix(_TEXT).removesuffix(_EDIT)
