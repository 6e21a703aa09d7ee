"""Converts images to sRGB by the ICC profile that they carry. Without that, photos of phones and of print shops change colour."""

import io

from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
_MODE_BY_COLOUR_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(image: Image.Image) -> Image.Image:
    """Return the image in sRGB, with its transparency. It stays as it is without a profile that Pillow can use.

    The conversion is relative colorimetric with black point compensation, as browsers do it.
    """
    profile = _open_profile(image)
    if profile is None:
        return image
    mode = _MODE_BY_COLOUR_SPACE.get(profile.profile.xcolor_space.strip())
    if mode is None or (mode in {"L", "CMYK"}) != (image.mode in {"L", "LA", "CMYK"}):
        return image  # the profile is one for other images
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    try:
        converted = ImageCms.profileToProfile(
            image.convert(mode),
            profile,
            _SRGB,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=_FLAGS,
        )
    except (ImageCms.PyCMSError, ValueError):  # a damaged profile must not cost the image
        return image
    assert converted is not None  # noqa: S101 -- only an in-place conversion returns None
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _open_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        description = profile.profile.profile_description or ""
    except (OSError, ValueError):
        return None
    return None if description.startswith("sRGB") else profile
