"""Formulas in Markdown as MathML: browsers draw it themselves, without MathJax or a network."""

import html
import re
from dataclasses import dataclass, field
from typing import Literal

# code first: a dollar sign inside it is no formula
_TOKENS = re.compile(
    r"(?P<code>```.*?```|~~~.*?~~~|`[^`\n]+`)"
    r"|(?P<escaped>\\\$)"
    r"|\$\$(?P<block>.+?)\$\$"
    r"|\$(?![\s$])(?P<inline>[^$\n]+?)(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)


@dataclass
class Formulas:
    """Takes the formulas out of Markdown sources and puts MathML into the finished page.

    Markdown would read underscores and stars inside a formula as emphasis, so each formula is a
    plain word until the page stands.
    """

    _mathml: list[str] = field(default_factory=list)

    def take_out(self, markdown: str) -> str:
        """The source with every ``$...$`` and ``$$...$$`` replaced by a placeholder."""
        return _TOKENS.sub(self._replace, markdown)

    def put_in(self, page: str) -> str:
        """The page with every placeholder replaced by its MathML."""
        return re.sub(r"formula(\d+)alumrof", lambda found: self._mathml[int(found[1])], page)

    def _replace(self, found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        if found["escaped"]:
            # as an entity: a bare dollar sign would start a formula for the Markdown reader
            return "&#36;"
        formula = found["block"] or found["inline"]
        self._mathml.append(to_mathml(formula.strip(), "block" if found["block"] else "inline"))
        return f"formula{len(self._mathml) - 1}alumrof"


def to_mathml(formula: str, display: Literal["inline", "block"] = "inline") -> str:
    """A TeX formula as MathML; one that cannot be read stays visible as its source."""
    from latex2mathml import converter, exceptions

    unreadable: tuple[type[Exception], ...] = (
        IndexError,
        ValueError,
        *(
            error
            for error in vars(exceptions).values()
            if isinstance(error, type) and issubclass(error, Exception)
        ),
    )
    try:
        return converter.convert(formula, display=display)
    except unreadable:
        return f"<code>{html.escape(formula)}</code>"
