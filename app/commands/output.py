"""Decides where the images of a prediction are written, in which format, and writes them."""

import os
import sys
from dataclasses import dataclass
from itertools import chain
from itertools import count as _count
from pathlib import Path

import click

FORMATS = ("png", "jpeg", "webp")
ENDINGS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
STDOUT = "-"

OUTPUT_OPTION = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="File to write, which is replaced if it exists; - is stdout. Its ending sets the format: .png, .jpg or .webp.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The file, or stdout, that receives the images."""

    name: str  # STDOUT, or the path of a file
    format: str | None  # None means the name does not say it

    @property
    def is_stdout(self) -> bool:
        """Return whether the image goes to stdout."""
        return self.name == STDOUT

    def paths(self, count: int) -> list[Path]:
        """Return a path for each image: picture.png alone, or picture-1.png and picture-2.png."""
        path = Path(self.name)
        if count == 1:
            return [path]
        return [path.with_stem(f"{path.stem}-{k}") for k in range(1, count + 1)]

    def check(self, count: int) -> None:
        """Refuse what cannot be written, before the prediction costs anything. Raises click.BadParameter."""
        if self.is_stdout:
            if count > 1:
                raise _wrong("- takes one image; leave out -n, or name a file")
            if sys.stdout is None:
                raise _wrong("stdout is closed; redirect it, or name a file")
            if sys.stdout.isatty():
                raise _wrong("stdout is a terminal; redirect it, or name a file")
            return
        for path in self.paths(count):
            folder = path.absolute().parent
            if not folder.is_dir():
                raise _wrong(f"the folder {folder} does not exist")
            if not os.access(path if path.exists() else folder, os.W_OK):
                raise _wrong(f"{path} cannot be written: permission denied")

    def write(self, path: Path, image: bytes) -> None:
        """Write an image. Raises OSError."""
        if self.is_stdout:
            sys.stdout.buffer.write(image)
            sys.stdout.buffer.flush()
        else:
            is_new = not path.exists()
            try:
                path.write_bytes(image)
            except OSError:
                if is_new:
                    path.unlink(missing_ok=True)  # half a file looks like an image
                raise


def parse_output(name: str, image_format: str | None = None) -> Output:
    """Return the output that the options name. Raises click.BadParameter."""
    if name == STDOUT:
        return Output(name=STDOUT, format=image_format)
    by_ending = ENDINGS.get(Path(name).suffix.lower())
    if by_ending is None and image_format is None:
        raise _wrong("the name must end in .png, .jpg or .webp, or use --format")
    if image_format and by_ending and image_format != by_ending:
        raise _wrong(f"{name} does not fit --format {image_format}")
    return Output(name=name, format=image_format or by_ending)


def default_output(image_format: str | None, count: int) -> Output:
    """Return the output picture.png, or the next name that is free: without -o no file is replaced."""
    ending = image_format or FORMATS[0]
    stems = chain(["picture"], (f"picture-{k}" for k in _count(2)))
    outputs = (Output(name=f"{stem}.{ending}", format=ending) for stem in stems)
    return next(o for o in outputs if not any(path.exists() for path in o.paths(count)))


def _wrong(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="-o")
