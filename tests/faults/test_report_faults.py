"""Rows R01 and R02: a page with hostile text from a table and a parameter asks for nothing.

Offline in Chromium, with every video playing, such pages are opened in tests/report/test_html.py
and test_index.py.
"""

import nbformat
import numpy as np

from echocascade.data.echonet import COLUMNS, check_dataset
from echocascade.report.data_figures import check_table
from echocascade.report.html import Site, find_external, read_page, render_notebook
from echocascade.report.media import clip_html

ATTACKS = ("<script>alert(1)</script>", "<img src=https://example.org/x onerror=alert(1)>")


def page_of(tmp_path, outputs, name):
    cells = [nbformat.v4.new_markdown_cell("# Data\n\nA story."),
             nbformat.v4.new_code_cell("show()", outputs=outputs, execution_count=1)]  # fmt: skip
    file = tmp_path / "01_data.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    target = tmp_path / "report" / "01_data.html"
    render_notebook(file, target, Site(name, (read_page(file),), "from a phantom"))
    return target.read_text()


def test_r01_r02_hostile_cells_of_a_table_are_shown_and_do_nothing(tmp_path):
    rows = [f"{attack},50,50,100,16,16,10,20,TRAIN" for attack in ATTACKS]
    rows.append(f"clip,{ATTACKS[0]},50,100,16,16,10,20,{ATTACKS[1]}")
    (tmp_path / "FileList.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    table = check_table(check_dataset(tmp_path, workers=1))
    assert ATTACKS[0] in table.to_csv()  # it is quoted in the problem, so it reaches the page
    clips = clip_html([np.zeros((4, 16, 16, 1), np.uint8)], 8, [ATTACKS[1]])
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": html})
        for html in (table.to_html(), clips._repr_html_())
    ]
    text = page_of(tmp_path, outputs, f"run {ATTACKS[0]}")
    assert not any(attack in text for attack in ATTACKS)
    assert "&lt;script&gt;alert(1)" in text
    assert find_external(text) == []
