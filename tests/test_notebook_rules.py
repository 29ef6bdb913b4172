"""Notebooks tell, the library does: the rules that every notebook keeps (README, "Notebooks")."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from echocascade.report.parameters import read_parameters

NAMES = [
    "00_overview",
    "01_data_preparation",
    "02_edm_theory",
    "03_lvef_regressor",
    "04_train_base",
    "05_train_super_resolution",
    "06_sampling",
    "07_counterfactual_evaluation",
    "08_expert_study",
    "09_downstream_rebalancing",
]
STAGED = {"04_train_base", "05_train_super_resolution"}
PARAMETERS = {"params_file", "run_name", "overrides"}
MOST_LINES, MEDIAN_LINES = 12, 5
FORBIDDEN = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.While, ast.Try, ast.Lambda, ast.Global
)  # fmt: skip
PATH_LITERAL = re.compile(
    r"^(~|\.{1,2})?/[\w.]"
    r"|^(params|outputs|data|notebooks|lib|weights|checkpoints|samples|tables|report)/"
    r"|^\w:\\"
    r"|^https?://"
)

HERE = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_parameters(cell) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def lines_of(cell) -> int:
    return len([line for line in cell.source.splitlines() if line.strip()])


def trees(notebook) -> list[tuple[int, ast.Module]]:
    """Code cells but the parameters cell, by number; a magic would be a syntax error here."""
    cells = [cell for cell in code_cells(notebook) if not is_parameters(cell)]
    return [(number, ast.parse(cell.source)) for number, cell in enumerate(cells)]


def test_there_is_no_notebook_beside_the_story():
    assert {path.stem for path in NOTEBOOKS} <= set(NAMES)


def test_it_is_committed_without_outputs(notebook):
    assert [cell.source for cell in code_cells(notebook) if cell.outputs] == []
    assert [cell.source for cell in code_cells(notebook) if cell.execution_count] == []
    assert "papermill" not in notebook.metadata and "widgets" not in notebook.metadata
    nbformat.validate(notebook)


def test_one_parameters_cell_holds_the_known_literals(path, notebook):
    assert sum(is_parameters(cell) for cell in code_cells(notebook)) == 1
    wanted = PARAMETERS | ({"stage"} if path.stem in STAGED else set())
    assert set(read_parameters(path)) == wanted


def test_cells_are_short(path, notebook):
    lengths = [lines_of(cell) for cell in code_cells(notebook)]
    assert max(lengths) <= MOST_LINES
    assert statistics.median(lengths) <= MEDIAN_LINES


def test_cells_use_what_the_library_does(notebook):
    """No definitions, loops without end, error handling or magics."""
    found = [
        (number, type(node).__name__, node.lineno)
        for number, tree in trees(notebook)
        for node in ast.walk(tree)
        if isinstance(node, FORBIDDEN)
    ]
    assert found == []


def test_imports_stand_in_one_cell_at_the_top(notebook):
    importing = [
        number
        for number, tree in trees(notebook)
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree))
    ]
    assert importing in ([], [0])


def test_no_path_is_written_into_a_cell(notebook):
    found = [
        node.value
        for _, tree in trees(notebook)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and PATH_LITERAL.search(node.value)
    ]
    assert found == []


def test_a_sentence_comes_before_each_cell(notebook):
    """What to expect is said in words, and a figure is read in words after it."""
    kinds = [cell.cell_type for cell in notebook.cells]
    bare = [
        notebook.cells[index].source
        for index, kind in enumerate(kinds)
        if kind == "code" and (index == 0 or kinds[index - 1] != "markdown")
    ]
    assert bare == []
    unsaid = [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "markdown" and not re.search(r"[.:!?](\*\*|_|\)|\")?\s*$", cell.source)
    ]
    assert unsaid == []


def test_it_opens_with_a_title_and_a_story(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S.*\n\n\S", first.source)


def test_the_last_cell_records_the_numbers(path, notebook):
    last = ast.parse(code_cells(notebook)[-1].source)
    calls = [node.func for node in ast.walk(last) if isinstance(node, ast.Call)]
    names = [f"{ast.unparse(call)}" for call in calls]
    assert "run.record" in names
    assert f'"{path.stem}"' in "".join(cell.source for cell in code_cells(notebook))


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("/home/x", True),
        ("../data", True),
        ("outputs/quick", True),
        ("frames/s", False),
        ("loss / step", False),
        ("samples", False),
    ],
)
def test_paths_are_recognised(text, is_path):
    assert bool(PATH_LITERAL.search(text)) is is_path
