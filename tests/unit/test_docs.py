"""README and code tell the same story."""

import re
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda f: f.alias)
def test_every_setting_is_described(field) -> None:
    """README's table has each variable with its description."""
    assert f"| `{field.alias}` |" in README
    assert field.description in README


def test_every_route_is_described(tmp_path: Path) -> None:
    """README's table has each path of our own OpenAPI document."""
    app = create_app(Settings(data=tmp_path))

    undescribed = [
        path
        for path in app.openapi()["paths"]
        if f"{path.replace('{prediction_id}', '{id}')}" not in README
    ]

    assert undescribed == []


def test_every_error_code_is_described(tmp_path: Path) -> None:
    """README's table has each status code that a route declares."""
    operations = create_app(Settings(data=tmp_path)).openapi()["paths"].values()

    codes = {code for o in operations for verb in o.values() for code in verb["responses"]}

    assert [code for code in sorted(codes) if code >= "400" and f"| {code} |" not in README] == []


def test_every_promise_names_a_test_that_is_there() -> None:
    """Each test that docs/reliability.md names exists."""
    root = Path(__file__).parents[2]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (root / "docs/reliability.md").read_text())

    missing = [f"{f}::{t}" for f, t in named if f"def {t}(" not in (root / f).read_text()]

    assert len(named) > 40
    assert missing == []
