"""Imports point down only, and the library needs no notebook tools."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# one line a level, highest first; packages on a line do not import each other
LEVELS = [
    {"cli", "commands"},
    {"report"},
    {"studies"},
    {"cascade", "evaluation"},
    {"diffusion", "nets", "data"},
    {"params", "rng", "runtime"},
    {"wording"},
]
TOGETHER = [{"cli", "commands"}]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
NOTEBOOK_TOOLS = ("IPython", "papermill", "nbconvert", "nbclient", "nbformat", "ipykernel")


def modules(root: Path) -> list[Path]:
    return sorted((root / "lib" / "echocascade").rglob("*.py"))


def part_of(path: Path, root: Path) -> str:
    return path.relative_to(root / "lib" / "echocascade").parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """Parts of echocascade that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "echocascade":
            names = [f"echocascade.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        parts = (name.split(".") for name in names)
        found |= {part[1] for part in parts if part[0] == "echocascade" and len(part) > 1}
    return found & LEVEL.keys()


def may_import(importer: str, imported: str) -> bool:
    if importer == imported or {importer, imported} in TOGETHER:
        return True
    return LEVEL[imported] > LEVEL[importer]


def test_every_module_has_its_level(root):
    unknown = {part_of(path, root) for path in modules(root)} - LEVEL.keys() - {"__init__"}
    assert unknown == set()


def test_imports_point_down(root):
    wrong = [
        f"{path.relative_to(root)} imports {imported}"
        for path in modules(root)
        if (part := part_of(path, root)) != "__init__"
        for imported in imported_parts(path)
        if not may_import(part, imported)
    ]
    assert wrong == []


def test_imports_are_absolute(root):
    relative = [
        str(path.relative_to(root))
        for path in modules(root)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("cascade", "nets", True),
        ("nets", "cascade", False),
        ("evaluation", "cascade", False),
        ("data", "nets", False),
        ("report", "cli", False),
    ],
)
def test_the_rule_itself(importer, imported, allowed):
    assert may_import(importer, imported) is allowed


def test_the_library_imports_without_notebook_tools(root):
    names = [
        ".".join(path.relative_to(root / "lib").with_suffix("").parts).removesuffix(".__init__")
        for path in modules(root)
    ]
    blocked = "".join(f"sys.modules[{tool!r}] = None\n" for tool in NOTEBOOK_TOOLS)
    code = f"import sys, importlib\n{blocked}for name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
