"""The Python examples in docs/clients.md work as documented."""

import re
import sys
from pathlib import Path

import pytest

from tests.clients.python_client import installed
from tests.support import processes
from tests.support.klein_server import Klein
from tests.support.node_packages import direct_environment
from tests.support.tls_proxy import tls_front, write_certificate

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)
CHECKS = {  # what each example must have got, by its import
    "litellm": "response.data[0].b64_json",
    "haystack": "images[0]",
    "langchain": "image_url.startswith('http')",
    "agno": "result.images[0].url",
    "fal_client": "result['images'][0]['url']",
}
SILENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False"}


@pytest.mark.parametrize("package", CHECKS)
def test_example(klein: Klein, tmp_path: Path, package: str) -> None:
    """The example of a library gets an image."""
    [example] = [
        code for code in EXAMPLES if f"import {package}" in code or f"from {package}" in code
    ]
    certificate = write_certificate(tmp_path)
    with tls_front(certificate, int(klein.url.rpartition(":")[2])) as port:
        names = f"URL, KEY, HOST = {klein.url!r}, {klein.key!r}, '127.0.0.1:{port}'\n"
        completed = processes.run(
            [sys.executable, "-c", f"{names}{example}\nassert {CHECKS[package]}"],
            env=direct_environment()
            | SILENT
            | {
                "PYTHONPATH": str(installed("frameworks.txt")),
                "SSL_CERT_FILE": str(certificate[0]),
            },
            timeout_s=120,
        )

    assert completed.returncode == 0, completed.stderr
