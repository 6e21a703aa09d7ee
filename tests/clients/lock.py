"""Writes tests/clients/python/frameworks.txt: the packages of frameworks.in and what they need besides this environment.

`python -m tests.clients.lock`. LiteLLM asks for HTTP/2, which is in frameworks.in because the environment's httpx has none.
"""

import re
import sys
from pathlib import Path

from tests.support import processes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "clients" / "python"
UNUSED = (
    "boto3",
    "botocore",
    "colorama",
    "jmespath",
    "s3transfer",
    "zstandard",
)  # nothing imports these


def main() -> None:
    """Compile the list with hashes."""
    asked = set(re.findall(r"^([\w.-]+)==", (FOLDER / "frameworks.in").read_text(), re.MULTILINE))
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    command = [
        str(Path(sys.executable).parent / "uv"),
        *("pip", "compile", str(FOLDER / "frameworks.in"), "--output-file"),
        str(FOLDER / "frameworks.txt"),
        *("--override", str(ROOT / "requirements.lock"), "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-header", "--no-annotate", "--quiet"),
    ]
    for name in (*sorted(set(locked) - asked), *UNUSED):
        command += ["--no-emit-package", name]
    processes.run(command, check=True, timeout_s=300)


if __name__ == "__main__":
    main()
