"""Formulas: drawn where they are formulas, left alone where they are not."""

import pytest

from echocascade.report.mathml import Formulas, to_mathml


def convert(markdown: str) -> str:
    formulas = Formulas()
    return formulas.put_in(formulas.take_out(markdown))


def test_inline_and_display_formulas_become_mathml():
    page = convert("Let $x_1$ be; $$y = x_2$$")
    assert page.count("<math") == 2
    assert 'display="inline"' in page and 'display="block"' in page
    assert "$" not in page


@pytest.mark.parametrize("text", ["`$HOME`", "```\n$a$ and $b$\n```", "costs 5$ or 6$"])
def test_code_and_prices_are_no_formulas(text):
    assert convert(text) == text


def test_an_escaped_dollar_sign_is_a_dollar_sign():
    assert convert(r"\$5 and \$6") == "&#36;5 and &#36;6"


def test_a_formula_that_cannot_be_read_stays_visible_and_escaped():
    assert to_mathml("a < b_1_2") == "<code>a &lt; b_1_2</code>"
