"""Decodes images in a process of its own, with limits of memory and CPU time. The api process never decodes one.

Reads one JSON request a line from stdin, and answers each with one line on stdout. It imports Pillow and `app.images`.
"""

import hashlib
import json
import os
import resource
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin

from app.images.check import LARGEST_BYTES, check_image, count_pixels
from app.images.data_uri import content_path, parse_data_uri
from app.images.errors import ImageRejected
from app.images.mask import MaskReading, mask_path, read_mask

CPU_S = 20  # of one request
MEMORY_BYTES = (
    1024 * 1024 * 1024
)  # reserved; a WebP of 50 megapixels uses most of it, other formats up to 650 MB
LARGE_PIXELS = 12_500_000  # more are decoded one image at a time
VERDICTS_MAX = 4096
TOO_MUCH_MEMORY = "the image takes too much memory to decode; scale it down before sending"
BROKEN_URI = "the data URI is broken; write data:image/png;base64,…"


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the api ends this process
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 4 * LARGEST_BYTES)
    verdicts = Verdicts()
    _write({"is_ready": True})
    for line in sys.stdin.buffer:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + 1 + CPU_S)
        _write(_answer(json.loads(line), verdicts))


class Verdicts:
    """Remembers the result of decoding by the content, so that the same file is decoded once."""

    def __init__(self) -> None:
        self._verdicts: OrderedDict[bytes, dict[str, Any]] = OrderedDict()

    def check(self, data: bytes) -> dict[str, Any]:
        """Decode an image that is not known yet, and return the response."""
        content = hashlib.sha256(data).digest()
        if content not in self._verdicts:
            try:
                self._verdicts[content] = asdict(check_image(data))
            except ImageRejected as exc:
                self._verdicts[content] = {"problem": str(exc)}
        self._verdicts.move_to_end(content)
        if len(self._verdicts) > VERDICTS_MAX:
            self._verdicts.popitem(last=False)
        return self._verdicts[content]


def _answer(request: dict[str, Any], verdicts: Verdicts) -> dict[str, Any]:
    """Check the file of a request, a large image only if it may use the memory. Also write a mask as a grey PNG."""
    path = Path(request["path"])
    try:
        if request["is_uri"]:
            path = _unpack(path)
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        if count_pixels(data) > LARGE_PIXELS and not request["may_be_large"]:
            return {"is_large": True}
        if request["mask"] is not None:
            info, mask = read_mask(data, MaskReading(**request["mask"]))
            mask_path(path).write_bytes(mask)
            return asdict(info)
        return verdicts.check(data)
    except ImageRejected as exc:
        return {"problem": str(exc)}
    except MemoryError:
        return {"problem": TOO_MUCH_MEMORY}
    except ValueError:
        return {"problem": BROKEN_URI}


def _unpack(path: Path) -> Path:
    """Replace the file of a data URI by one of its content. Raises ImageRejected or ValueError."""
    content = content_path(path)
    if content.exists():  # it was unpacked for another prediction of the same request
        return content
    try:
        uri = path.read_bytes()
    except FileNotFoundError:  # another process has just unpacked it: the image is its own mask
        return content
    part = content.with_suffix(f".{os.getpid()}")
    part.write_bytes(parse_data_uri(json.loads(uri)))
    part.replace(content)
    path.unlink(missing_ok=True)
    return content


def _limit(what: int, value: int) -> None:
    with suppress(ValueError, OSError):  # a lower limit holds already, or the system has none
        resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def _write(response: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(response) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
