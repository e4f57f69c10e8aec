"""The lines that the code is not to cross: who imports whom, who knows which name."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = ROOT / "bridge" / "trackbridge"
ADAPTERS = ROOT / "adapters" / "trackbridge_adapters"
BACK_ENDS = re.compile(r"mlflow|wandb|w&b|tensorboard|neptune", re.IGNORECASE)
FOR_ADAPTERS = {
    "adapter",
    "audit",
    "columns",
    "digest",
    "disk",
    "dual",
    "errors",
    "fit",
    "fit_paths",
    "fit_text",
    "folder",
    "locks",
    "losses",
    "optional",
    "packed",
    "prefetch",
    "schema",
    "times",
}
"""Modules of the core that an adapter may use; the rest are steps of a job that it is part of."""


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def core_modules() -> list[Path]:
    """Modules of the core itself, without the packages beside it."""
    return sorted(CORE.glob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module parsed; not to be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


@functools.cache
def imports(path: Path, *, runtime: bool = False) -> tuple[str, ...]:
    """Full names of what a module imports; with `runtime` only what loading it imports."""
    skipped = {
        id(inner)
        for node in nodes_of(path)
        if runtime and (isinstance(node, ast.FunctionDef) or _for_types_only(node))
        for inner in ast.walk(node)
    }
    found: list[str] = []
    for node in nodes_of(path):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += (f"{node.module}.{name.name}" for name in node.names)
    return tuple(found)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@functools.cache
def core_name(name: str) -> str | None:
    """The module of the core that an imported name means, if it is one."""
    parts = name.split(".")
    if parts[0] != "trackbridge" or len(parts) < 2:
        return None
    here = (CORE / f"{parts[1]}.py").exists() or (CORE / parts[1]).is_dir()
    return parts[1] if here else "__init__"


def code_of(path: Path) -> str:
    """A module's code, its docstrings and comments left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                item
                for item in body
                if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree)


@pytest.mark.parametrize("root", ["bridge", "adapters"])
def test_each_source_root_holds_one_package_and_nothing_else(root: str) -> None:
    """A stray `adapters/wandb.py` would shadow the real wandb."""
    found = {path.name for path in (ROOT / root).iterdir() if path.name != "__pycache__"}
    assert found == {{"bridge": "trackbridge", "adapters": "trackbridge_adapters"}[root]}


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: path.stem)
def test_the_core_names_no_back_end(path: Path) -> None:
    if path.name not in ("cli.py", "cli_dual.py"):
        assert not BACK_ENDS.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: path.stem)
def test_only_the_registry_and_the_command_line_know_the_package_of_adapters(path: Path) -> None:
    if path.name not in ("registry.py", "cli.py"):
        assert "trackbridge_adapters" not in code_of(path)


@pytest.mark.parametrize("path", modules(ADAPTERS), ids=lambda p: str(p.relative_to(ADAPTERS)))
def test_adapters_do_not_reach_into_the_job_that_they_are_part_of(path: Path) -> None:
    used = {core_name(name) for name in imports(path)} - {None}
    assert used <= FOR_ADAPTERS | {"__init__"}


@pytest.mark.parametrize("path", modules(ADAPTERS), ids=lambda p: str(p.relative_to(ADAPTERS)))
def test_no_adapter_imports_another_one(path: Path) -> None:
    own = path.relative_to(ADAPTERS).parts[0].removesuffix(".py")
    named = (name.split(".") for name in imports(path))
    used = {parts[1] for parts in named if parts[0] == "trackbridge_adapters"}
    assert used <= {own}


def test_the_seams_import_nothing_above_them() -> None:
    found = {
        name: {core_name(i) for i in imports(CORE / f"{name}.py", runtime=True)} - {None}
        for name in ("errors", "schema", "adapter", "optional", "columns", "losses", "digest")
    }
    assert found["errors"] == found["schema"] == found["losses"] == set()
    assert found["adapter"] <= {"errors"}
    assert found["optional"] <= {"adapter"}
    assert found["columns"] <= {"adapter", "optional", "schema"}
    assert found["digest"] <= {"adapter", "columns", "schema"}


def test_imports_of_the_core_go_one_way() -> None:
    """No module is reached again from what it imports."""
    graph = {
        path.stem: {core_name(name) for name in imports(path, runtime=True)} - {None, path.stem}
        for path in core_modules()
    }
    while graph:
        leaves = {name for name, used in graph.items() if not used & set(graph)}
        assert leaves, f"a circle of imports: {graph}"
        graph = {name: used for name, used in graph.items() if name not in leaves}


def test_the_command_line_is_imported_by_nobody() -> None:
    users = [p.stem for p in core_modules() if "cli" in {core_name(name) for name in imports(p)}]
    assert users == ["__main__"]


ALL = [*modules(CORE), *modules(ADAPTERS)]


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_opens_with_one_line_that_says_its_job(path: Path) -> None:
    text = ast.get_docstring(tree_of(path), clean=False)
    assert text, "no docstring"
    first, *rest = text.split("\n")
    assert first.endswith((".", "?", ":")), "the first line is no sentence"
    assert not rest or not rest[0].strip(), "the first line goes on in the second"


def _fresh(code: str) -> list[str]:
    """What a new interpreter has loaded after some code, and had not before it."""
    script = f"import json, sys\nbefore = set(sys.modules)\n{code}\n"
    script += "print(json.dumps(sorted(set(sys.modules) - before)))"
    path = os.pathsep.join([str(CORE.parent), str(ADAPTERS.parent)])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_importing_the_package_loads_next_to_nothing() -> None:
    """Training jobs import it: modules are counted, since time depends on the machine."""
    loaded = _fresh("import trackbridge")
    heavy = {"pyarrow", "numpy", "pandas", "click", "fsspec", "joblib", "asyncio", "logging"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert len(loaded) <= 15, loaded


def test_public_names_are_there_when_they_are_asked_for() -> None:
    import trackbridge

    for name in trackbridge.__all__:
        assert getattr(trackbridge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        trackbridge.nothing  # noqa: B018


def test_loading_the_adapters_loads_no_client() -> None:
    code = "from trackbridge.registry import load, targets\nfor name in targets(): load(name)"
    assert not {"mlflow", "wandb", "sqlalchemy"} & {n.partition(".")[0] for n in _fresh(code)}


def test_help_of_the_command_line_loads_neither_arrow_nor_numpy() -> None:
    loaded = _fresh("import trackbridge.cli")
    assert not {"pyarrow", "numpy", "pandas"} & {name.partition(".")[0] for name in loaded}


def test_nothing_is_left_undone_in_the_code() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in ALL:
        assert not marks.search(path.read_text(encoding="utf-8")), path


def test_errors_are_not_caught_wholesale() -> None:
    """What is caught so is raised again, or handed over to who waits for the thread.

    But for logging, which counts what fails, and what `trackbridge run` puts into programs, which
    says it: nothing may be raised into a training. And for a forwarder, which writes it down and
    goes on with other runs.
    """
    found = {
        path.name
        for path in ALL
        if "mirror" not in path.parts
        for node in nodes_of(path)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert found <= {
        "alerts.py",
        "delivery.py",
        "prefetch.py",
        "rest_log.py",
        "reading.py",
        "recorded.py",
        "run.py",
        "sitecustomize.py",
    }
