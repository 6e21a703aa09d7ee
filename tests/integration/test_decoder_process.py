"""Tests of the process that decodes images: its limits, and what it remembers."""

import json
import resource
import sys
from subprocess import PIPE

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from app.images import decoder
from app.images.check import LARGEST_BYTES, check_image
from tests.support import processes
from tests.support.api_client import image_file

ASK = {"is_uri": False, "may_be_large": False, "mask": None}


@pytest.fixture
def process():
    """A running decoder process that is ready."""
    command = [sys.executable, "-P", "-m", "app.images.decoder"]
    process = processes.start(command, stdin=PIPE, stdout=PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline()) == {"is_ready": True}
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        processes.end(process)


def test_process_has_limits(process, tmp_path):
    """Memory, file size and the processor time of each request are limited, and no core is dumped."""
    (tmp_path / "in.png").write_bytes(image_file(64, 64))
    process.stdin.write(json.dumps(ASK | {"path": str(tmp_path / "in.png")}) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    limits = psutil.Process(process.pid)

    assert (answer["width"], answer["height"]) == (64, 64)
    assert limits.rlimit(resource.RLIMIT_DATA)[0] == decoder.MEMORY_BYTES
    assert limits.rlimit(resource.RLIMIT_FSIZE)[0] == 4 * LARGEST_BYTES
    assert limits.rlimit(resource.RLIMIT_CORE)[0] == 0
    assert decoder.CPU_S <= limits.rlimit(resource.RLIMIT_CPU)[0] <= decoder.CPU_S + 10


def test_same_file_is_decoded_once(monkeypatch):
    """The result of decoding is kept by content, for a bounded number of files."""
    decoded = []

    def counted(data):
        decoded.append(data)
        return check_image(data)

    monkeypatch.setattr(decoder, "check_image", counted)
    monkeypatch.setattr(decoder, "VERDICTS_MAX", 2)
    verdicts = decoder.Verdicts()
    one, two, three = (image_file(64 * k, 64) for k in (1, 2, 3))

    answers = [verdicts.check(data) for data in (one, one, b"not an image", b"not an image")]
    assert decoded == [one, b"not an image"]
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    assert "problem" in answers[2]

    for data in (two, three, one):  # one was forgotten for three
        verdicts.check(data)
    assert decoded[2:] == [two, three, one]
