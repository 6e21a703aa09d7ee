"""Changes image files so that decoders read what viewers read: drops what nobody needs, and adds a lost end marker."""

import zlib

from app.images.media_type import media_type_of

_KEPT_CHUNKS = frozenset(
    {b"tRNS", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"acTL", b"fcTL", b"fdAT"}
)
_CHUNK_MAX_BYTES = 1024 * 1024  # Pillow's own limit for what a compressed chunk holds
_CHECKED = {b"iCCP", b"eXIf"}
_SIGNATURE_BYTES, _FRAME_BYTES = 8, 12
_JPEG_END = b"\xff\xd9"
_FILLING = b"\x55\xaa" * 64


def drop_large_chunks(data: bytes) -> bytes:
    """Return a PNG without its texts and without a profile or EXIF above 1 MB. Other files are returned unchanged.

    Pillow refuses a file with such chunks, although only orientation and colours matter here.
    """
    if media_type_of(data) != "image/png":
        return data
    parts, at = [data[:_SIGNATURE_BYTES]], _SIGNATURE_BYTES
    start = at
    while at + _FRAME_BYTES <= len(data):
        length = int.from_bytes(data[at : at + 4])
        name, end = data[at + 4 : at + 8], at + _FRAME_BYTES + length
        if not _is_kept(name, data[at + 8 : min(end - 4, at + 8 + length)]):
            parts.append(data[start:at])
            start = end
        at = end
    return data if start == _SIGNATURE_BYTES else b"".join([*parts, data[start:]])


def _is_kept(name: bytes, content: bytes) -> bool:
    is_critical = name[:1].isupper()
    if is_critical or name not in _CHECKED:
        return is_critical or name in _KEPT_CHUNKS or not name.isalpha()
    if len(content) > _CHUNK_MAX_BYTES:
        return False
    if name == b"eXIf":
        return True
    packed = content[content.find(b"\0") + 2 :]
    try:
        unpacked = zlib.decompressobj().decompress(packed, _CHUNK_MAX_BYTES + 1)
    except zlib.error:
        return True  # Pillow ignores it
    return len(unpacked) <= _CHUNK_MAX_BYTES


def close_jpeg(data: bytes, *, filling: bool = False) -> bytes | None:
    """Return a JPEG with an end marker after its last byte, or None for other files.

    With `filling`, other numbers come before the marker. Where pixels are missing, a decoder uses them, and the
    two files differ.
    """
    if media_type_of(data) != "image/jpeg":
        return None
    return data.rstrip(b"\xff") + (_FILLING if filling else b"") + _JPEG_END
