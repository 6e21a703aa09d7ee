"""Schemathesis reads our OpenAPI document and sends valid and invalid requests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import processes
from tests.support.api_client import EDIT, TEXT
from tests.support.klein_server import Klein

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def emptied(klein: Klein) -> Iterator[str]:
    """The key for these tests. Its predictions are cancelled afterwards, so that no other test waits for them."""
    yield klein.other_key
    with klein.client(klein.other_key) as client:
        while waiting := client.get("/v1/executions?status=created&limit=100").json()["executions"]:
            for line in waiting:
                client.post(f"/v1/prediction/{line['id']}/cancel")


def probe(key: str, folder: Path, schema: str, *options: str) -> tuple[int, str]:
    """Run schemathesis reproducibly, and return its exit code and report."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", schema, *options]
    command += ["--seed", "1", "--generation-deterministic"]
    command += ["--header", f"X-API-Key: {key}", "--no-color", "--request-timeout", "100"]
    result = processes.run(command, cwd=folder, timeout_s=230)
    return result.returncode, result.stdout + result.stderr


def test_responses_are_declared(klein: Klein, emptied: str, tmp_path: Path) -> None:
    """Every request, valid or not, gets a declared response of the declared shape, never a 500."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    options = ["--checks", checks, "--max-examples", "10", "--phases", "examples,coverage,fuzzing"]

    code, report = probe(emptied, tmp_path, f"{klein.url}/openapi.json", *options)

    assert code == 0, report


@pytest.mark.slow
@pytest.mark.parametrize("slug", [TEXT, EDIT])
def test_input_never_causes_500(
    klein: Klein, client: httpx.Client, emptied: str, tmp_path: Path, slug: str
) -> None:
    """No input, valid or not under a model's own document, gets a 500."""
    schema = f"{klein.url}/v1/models/{slug}/schemas/openapi"
    options = ["--checks", "not_a_server_error", "--max-examples", "20"]

    code, report = probe(emptied, tmp_path, schema, *options, "--phases", "coverage,fuzzing")

    assert code == 0, report
