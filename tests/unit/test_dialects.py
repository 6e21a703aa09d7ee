"""Tests of the dialect registry, and of what routes may use of the service."""

import ast
from pathlib import Path

import pytest

from app.dialects.http import error_renderer, load_http
from app.dialects.registry import DIALECTS, Dialect

ROOT = Path(__file__).parents[2]
ROUTE_FILES = sorted(
    path for folder in ("api", "dialects") for path in (ROOT / "app" / folder).rglob("*.py")
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_each_dialect_has_routes_and_renders_errors(dialect: Dialect) -> None:
    """The module that a dialect names has routers with routes, and renders an unexpected error as a 500."""
    http = load_http(dialect)

    assert all(router.routes for router in http.routers)
    assert http.render_error(RuntimeError("secret")).status == 500


def test_exactly_one_dialect_takes_the_rest() -> None:
    """Paths that belong to no other dialect belong to the hosted API."""
    rest = [dialect.name for dialect in DIALECTS if dialect.matches is None]

    assert rest == ["eachlabs"]
    assert error_renderer("GET", "/nothing") is load_http(DIALECTS[1]).render_error


def test_every_dialect_folder_is_registered() -> None:
    """Each folder with a wire.py is a registered dialect."""
    folders = {path.parent.name for path in (ROOT / "app" / "dialects").glob("*/wire.py")}

    assert {dialect.name for dialect in DIALECTS} == folders


@pytest.mark.parametrize("path", ROUTE_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_reaches_through_the_service(path: Path) -> None:
    """Routes and dialects use the service's own methods, never the attributes of its parts."""
    reached = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and _is_service(node.value.value)
    ]

    assert reached == []


def _is_service(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.strip("_") == "service"
