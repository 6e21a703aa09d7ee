"""The unit ring stays fast: what its tests import loads no model library."""

import sys
from pathlib import Path

from tests.support import processes
from tests.unit.conftest import MODEL_LIBRARIES

ROOT = Path(__file__).parents[2]
IMPORT_ALL = f"""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    loaded = {MODEL_LIBRARIES!r} & sys.modules.keys()
    assert not loaded, f"{{name}} imports {{loaded}}"
"""


def test_unit_tests_import_no_model_library() -> None:
    """Importing every module of tests/unit loads neither torch nor what needs it."""
    files = [f.relative_to(ROOT).with_suffix("") for f in (ROOT / "tests" / "unit").rglob("*.py")]
    names = sorted(".".join(file.parts) for file in files)

    processes.run([sys.executable, "-c", IMPORT_ALL, *names], cwd=ROOT, check=True)
