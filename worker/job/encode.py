"""Encodes images as PNG, JPEG or WebP files, whose metadata says that a model generated them."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

from app.predictions.parameters import DEFAULT_QUALITY, OutputFormat
from worker.engines import ImageArray

SOFTWARE = "AI generated; klein"
"""Value of the EXIF field Software in every file. BFL's own tool writes it too."""
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The IPTC's machine-readable type of an image that a trained model generated."""
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="{SOFTWARE}"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>""".encode()
"""XMP metadata of every file."""
_EXIF_SOFTWARE = 0x0131
_EXIF_IFD = 0x8769
_EXIF_USER_COMMENT = 0x9286
_USER_COMMENT_MAX_BYTES = 60_000
_EXIF_PREFIX = b"Exif\0\0"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
"""The PNG filter that stores the difference to the row above."""


def encode(
    pixels: ImageArray, output_format: str, quality: int = DEFAULT_QUALITY, text: str = ""
) -> bytes:
    """Encode height x width x 3 pixels. The same pixels and text always give the same bytes.

    `quality` is 1 to 100. PNG ignores it. JPEG keeps full colour resolution (4:4:4). `text` says how the image was
    generated, where Stable Diffusion web UI writes it: in the text chunk `parameters` of a PNG, else in the EXIF field
    UserComment.
    """
    if output_format == OutputFormat.PNG:
        return _encode_png(pixels, text)
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = SOFTWARE
    if text:
        exif.get_ifd(_EXIF_IFD)[_EXIF_USER_COMMENT] = _user_comment(text)
    file, image = io.BytesIO(), Image.fromarray(pixels)
    if OutputFormat(output_format) is OutputFormat.JPEG:
        image.save(file, "JPEG", quality=quality, subsampling=0, exif=exif, xmp=XMP)
    else:
        image.save(file, "WEBP", quality=quality, method=0, exif=exif, xmp=XMP)
    return file.getvalue()


def _user_comment(text: str) -> bytes:
    """Write an EXIF comment as web UI does, cut to what a JPEG holds."""
    return b"UNICODE\0" + text.encode("utf-16-be", "replace")[:_USER_COMMENT_MAX_BYTES]


def _text_chunk(text: str) -> bytes:
    try:
        return _chunk(b"tEXt", b"parameters\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", b"parameters\0\0\0\0\0" + text.encode("utf-8", "replace"))


@cache
def _chunks_of_every_png() -> bytes:
    """Return the chunks that say who made a PNG."""
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = SOFTWARE
    return b"".join(
        (
            _chunk(b"tEXt", b"Software\0" + SOFTWARE.encode("latin-1")),
            _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),  # not compressed, no language
            _chunk(b"eXIf", exif.tobytes().removeprefix(_EXIF_PREFIX)),
        )
    )


def _encode_png(pixels: ImageArray, text: str) -> bytes:
    """Encode a PNG with one filter for all rows, three times as fast as Pillow's fastest level.

    Pillow tries five filters on each row. For generated images the Up filter alone gives about the same size,
    and run-length encoding is all that deflate can add quickly.
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    compressed = deflate.compress(filtered.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = (
        _chunk(b"IHDR", header),
        _chunks_of_every_png(),
        _text_chunk(text) if text else b"",
        _chunk(b"IDAT", compressed),
        _chunk(b"IEND", b""),
    )
    return _PNG_SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
