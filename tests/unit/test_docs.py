"""Checks that the documentation agrees with the code."""

import ast
import re
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/api.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
A_PATH = re.compile(r"`((?:app|worker|tests|deploy|docs)/[\w./-]+)(?:::\w+)?`")
A_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
A_MODULE = re.compile(r"python -m ((?:app|worker|tests|deploy)[\w.]*)")
A_SHELL_BLOCK = re.compile(r"^```sh\n(.+?)^```", re.MULTILINE | re.DOTALL)
A_MARK = re.compile(r"^<!-- (?:(not tested.+)|tested by (.+)) -->$", re.MULTILINE)
ADDED_BY_RECIPES = {"Priority", "priority"}
A_TARGET = re.compile(r"`(?:[A-Z_]+=\S+ )?make ([a-z-]+)")


def _default(value: Any) -> str:
    match value:
        case None | ():
            return "unset"
        case bool():
            return f"`{value}`".lower()
        case StrEnum():
            return f"`{value.value}`"
        case timedelta():
            return f"`{value.total_seconds():.0f}` s"
        case _:
            return f"`{value}`"


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda f: f.alias)
def test_every_setting_is_documented(field) -> None:
    """docs/configuration.md has a row for each variable, with its default and description."""
    row = f"| `{field.alias}` | {_default(field.default)} | {field.description} |"

    assert CONFIGURATION.splitlines().count(row) == 1


def test_no_unknown_setting_is_documented() -> None:
    """Each variable in the tables of docs/configuration.md is a setting."""
    described = re.findall(r"^\| `(\w+)`", CONFIGURATION, re.MULTILINE)

    assert sorted(described) == sorted(str(f.alias) for f in Settings.model_fields.values())


def test_every_route_is_documented(tmp_path: Path) -> None:
    """docs/api.md names each path of our OpenAPI document."""
    app = create_app(Settings(data=tmp_path))

    undescribed = [
        path
        for path in app.openapi()["paths"]
        if f"{path.replace('{prediction_id}', '{id}')}" not in API
    ]

    assert undescribed == []


def test_every_error_code_is_documented(tmp_path: Path) -> None:
    """docs/api.md has a row for each error code that a route declares."""
    operations = create_app(Settings(data=tmp_path)).openapi()["paths"].values()

    codes = {code for o in operations for verb in o.values() for code in verb["responses"]}

    assert [code for code in sorted(codes) if code >= "400" and f"| {code} |" not in API] == []


def test_every_promise_names_existing_test() -> None:
    """Each test that docs/reliability.md names exists."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/reliability.md").read_text())

    missing = [f"{f}::{t}" for f, t in named if f"def {t}(" not in (ROOT / f).read_text()]

    assert len(named) > 40
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_docs_exist(page: Path) -> None:
    """Each file, module, link and make target that a page names exists, except for placeholders."""
    text = page.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    named = [path for path in A_PATH.findall(text) if "NAME" not in path and path != "deploy/env"]
    assert [p for p in named if not (ROOT / p).exists() and not (ROOT / f"{p}.py").exists()] == []
    assert [link for link in A_LINK.findall(text) if not (page.parent / link).exists()] == []
    assert [target for target in A_TARGET.findall(text) if target not in targets] == []
    modules = [ROOT / name.replace(".", "/") for name in A_MODULE.findall(text)]
    assert [m for m in modules if not m.is_dir() and not m.with_suffix(".py").exists()] == []


def test_recipes_name_code_that_exists() -> None:
    """Each name in docs/extending.md that looks like one of the code is one, except for what a recipe adds."""
    code = [
        ast.parse(p.read_text()) for root in ("app", "worker") for p in (ROOT / root).rglob("*.py")
    ]
    tests = [ast.parse(p.read_text()) for p in (ROOT / "tests").rglob("*.py")]
    nodes = [*tests, *(node for tree in code for node in ast.walk(tree))]
    defined = {name for node in nodes for name in _names_of(node)}
    named = re.findall(r"`([A-Za-z]\w+|_\w+)`", (ROOT / "docs/extending.md").read_text())
    settings = {str(field.alias) for field in Settings.model_fields.values()}

    assert set(named) - defined - settings == ADDED_BY_RECIPES


def _names_of(node: ast.AST) -> set[str | None]:
    """Return what a node defines for others: not the variables of functions."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return {node.name}
        case ast.Module() | ast.ClassDef():
            targets = [t for a in node.body if isinstance(a, ast.Assign) for t in a.targets]
            targets += [a.target for a in node.body if isinstance(a, ast.AnnAssign)]
            return {t.id for t in targets if isinstance(t, ast.Name)} | {
                getattr(node, "name", None)
            }
        case ast.keyword():
            return {node.arg}
        case _:
            return set()


def test_map_names_every_folder() -> None:
    """ARCHITECTURE.md names each folder of app/ and worker/."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    folders = {
        f"{root}/{path.name}"
        for root in ("app", "worker")
        for path in (ROOT / root).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }

    assert {f for f in folders if f"| `{f}` |" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_tested_or_marked(page: Path) -> None:
    """The nearest comment above a block of commands names the test that runs it, or says that none does and why."""
    text = page.read_text()

    for block in A_SHELL_BLOCK.finditer(text):
        marks = A_MARK.findall(text[: block.start()])
        assert marks, f"no comment `tested by …` or `not tested: …` above: {block[1]}"
        _, tests = marks[-1]
        missing = [name for name in tests.split(" and ") if name and not (ROOT / name).exists()]
        assert missing == []
