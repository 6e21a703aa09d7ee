"""The client commands with streams, disks and arguments that are not as usual."""

import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.fake_server import (
    ENDED,
    ID,
    KEYED,
    PAGE,
    FakeServer,
    answer_events,
    answer_json,
    klein,
    serving,
)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


def test_a_terminal_without_utf_8(fake):
    """An encoding without a character prints ? in its place, and JSON is ASCII."""
    inputs = {"prompt": "a circle → круг"}
    fake.answers[f"/v1/prediction/{ID}"] = answer_json(ENDED | {"output": "x", "input": inputs})

    text = klein("get", ID, KLEIN_URL=fake.url, PYTHONIOENCODING="latin-1")
    as_json = klein("get", ID, "--json", KLEIN_URL=fake.url, PYTHONIOENCODING="latin-1")

    assert "prompt   a circle ? ????\n" in text.stdout
    assert json.loads(as_json.stdout)["input"] == inputs


def test_a_closed_pipe_ends_the_command_quietly(fake):
    """If the reader of a pipe has gone, there is no message."""
    fake.answers["/v1/executions"] = answer_json(PAGE)
    reading, writing = os.pipe()
    os.close(reading)
    result = klein("list", KLEIN_URL=fake.url, stdout=writing)
    os.close(writing)

    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [("list",), ("usage", "--csv"), ("--version",)])
def test_a_full_disk_is_one_line(fake, arguments):
    """If stdout cannot be written, one line says so and the exit code is 1."""
    fake.answers["/v1/executions"] = answer_json(PAGE)
    fake.answers["/v1/usage"] = answer_json({"usage": []})
    full = os.open("/dev/full", os.O_WRONLY)
    result = klein(*arguments, KLEIN_URL=fake.url, stdout=full)
    os.close(full)

    assert result.returncode == 1
    assert result.stderr == "Error: cannot write the output: No space left on device\n"


def test_a_file_that_does_not_fit_is_removed(fake, tmp_path):
    """If the disk takes only a part of an image, no half file stays, and the error says how to download it again."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(bytes(10_000))

    fake.answers[f"/v1/prediction/{ID}"] = answer_json(ENDED | {"output": f"{fake.url}/image.png"})
    fake.answers["/image.png"] = answer
    limited = 'ulimit -f 2; exec "$0" -m app.cli "$@"'  # in blocks of 512 or 1024 bytes
    options = ["get", ID, "-o", "a.png", "--url", fake.url]
    command = ["sh", "-c", limited, sys.executable, *options]
    result = processes.run(command, env=KEYED | {"PYTHONPATH": str(Path.cwd())}, cwd=tmp_path)

    assert result.returncode == 1
    assert result.stderr.startswith("Error: cannot write a.png: File too large; `klein get ")
    assert list(tmp_path.iterdir()) == []


def test_closed_streams_are_refused(fake):
    """A shell may close stdin and stdout: what needs them says so."""
    script = '"$0" -m app.cli predict "$@"'
    shell = ("sh", "-c")

    no_output = processes.run([*shell, f"{script} >&-", sys.executable, "x", "-o", "-"], env=KEYED)
    no_input = processes.run([*shell, f"{script} <&-", sys.executable, "-"], env=KEYED)

    assert (no_output.returncode, no_input.returncode) == (2, 2)
    assert no_output.stderr.endswith("-o: stdout is closed; redirect it, or name a file\n")
    assert no_input.stderr.endswith("PROMPT: it is empty\n")


@pytest.mark.parametrize(
    "arguments",
    [("list", "--model"), ("predict", "x", "--model"), ("predict", "x", "--lora"), ("list", "--url")],
)  # fmt: skip
def test_an_argument_that_is_no_text(fake, arguments):
    """Bytes that are not text in the terminal's encoding are refused, in any option."""
    fake.answers["/v1/models"] = answer_json([{"slug": "a-text-to-image"}])
    no_text = os.fsdecode(b"http://127.0.0.1:9/\xff")
    result = klein(*arguments, no_text, KLEIN_URL=fake.url)

    assert result.returncode == 2
    assert "an argument is not text in the encoding of this terminal\n" in result.stderr


def test_the_progress_outside_of_a_terminal(fake):
    """Without a terminal the stages and the steps are lines on stderr; --quiet leaves them out."""
    step = {"step": 2, "steps": 4}
    fake.answers[f"/v1/prediction/{ID}/events"] = answer_events(
        ("queue", {"position": 3, "expected_wait_s": 5, "expected_end_s": 9}),
        ("status", {"status": "processing"}),
        ("progress", step),
        ("end", ENDED | {"output": "x"}),
    )
    result = klein("wait", ID, KLEIN_URL=fake.url)
    quiet = klein("wait", ID, "--quiet", KLEIN_URL=fake.url)

    assert result.stderr.splitlines() == [
        f"prediction {ID}",
        "waiting",
        "waiting at 3, starts in 5 s, ends in 9 s",
        "generating",
        "generating, step 4 of 4",
    ]
    assert (result.stdout, quiet.stderr) == ("x   seed 7   1.5 s\n", "")
