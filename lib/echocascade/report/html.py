"""Executed notebooks as HTML pages that need no network.

The folder ``report/`` is the unit to share: its pages use one plotly.js beside them
(``assets/plotly.min.js``) and nothing else. Formulas are MathML, clips are inside the pages.
"""

import html
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from echocascade.data.atomic import replacing
from echocascade.report.files import write_text
from echocascade.report.mathml import Formulas
from echocascade.report.media import ClipRow, clip_html

__all__ = ["ClipRow", "Page", "Site", "clip_html", "render_notebook"]

PLOTLY = "application/vnd.plotly.v1+json"
TEMPLATES = Path(__file__).parent / "templates"

_EXTERNAL = r"""["']?\s*(?:https?:)?//"""
_EXTERNAL_ELEMENT = re.compile(
    rf"<(script|iframe)\b[^>]*\bsrc\s*=\s*{_EXTERNAL}[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL
)
_EXTERNAL_LINK = re.compile(rf"<link\b[^>]*\bhref\s*=\s*{_EXTERNAL}[^>]*>", re.IGNORECASE)
_EXTERNAL_SOURCE = re.compile(
    r"(<(?:img|video|audio|source|embed|object|track)\b[^>]*?)\s(?:src|data|poster)\s*="
    r"""\s*(?:"(?:https?:)?//[^"]*"|'(?:https?:)?//[^']*'|(?:https?:)?//[^\s>]*)""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Page:
    """What the report needs to know of one executed notebook; `story` is Markdown."""

    name: str
    title: str
    story: str

    @property
    def file(self) -> str:
        return f"{self.name}.html"

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]


@dataclass(frozen=True)
class Site:
    """What all pages of a report share."""

    run: str
    pages: tuple[Page, ...] = ()
    banner: str = ""
    commit: str = ""


def read_page(executed: Path) -> Page:
    """A notebook's title (its first heading) and story (the first sentence after it)."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    text = next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), "")
    heading, _, rest = text.strip().partition("\n")
    title = heading.lstrip("# ").strip() if heading.startswith("#") else ""
    body = rest if title else text
    paragraphs = [part.strip() for part in body.split("\n\n")]
    paragraph = next((part for part in paragraphs if part and not part.startswith("#")), "")
    story = first_sentence(paragraph)
    fallback = executed.stem.partition("_")[2].replace("_", " ")
    return Page(executed.stem, plain_markdown(title) or fallback, story)


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence (not one in "et al." or "Sec. 2")."""
    end = re.search(
        r"(?<!\bal)(?<!\bSec)(?<!\bEq)(?<!\bAlg)(?<!\bFig)[.!?](?=\s+[A-Z*`$]|\s*$)", text
    )
    return text[: end.end()] if end else text


def plain_markdown(text: str) -> str:
    """Markdown as plain text: links keep their words, emphasis and code lose their marks."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[*`$]|(?<!\w)_|_(?!\w)|^>\s?", "", text, flags=re.MULTILINE)
    return " ".join(text.split())


def inline_html(markdown: str) -> str:
    """One paragraph of Markdown as escaped text with its formulas drawn."""
    formulas = Formulas()
    return formulas.put_in(html.escape(plain_markdown(formulas.take_out(markdown)), quote=False))


def render_notebook(executed: Path, target: Path, site: Site) -> None:
    """Write an executed notebook as an HTML page.

    `executed` is the notebook file, `target` the page; figures use ``assets/plotly.min.js``
    beside `target` (see `write_assets`). The page appears whole or not at all.
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    formulas = Formulas()
    n_figures = _prepare(notebook, formulas)
    exporter = HTMLExporter(
        template_name="page", extra_template_basedirs=[str(TEMPLATES)], embed_images=False
    )
    body, _ = exporter.from_notebook_node(
        notebook, resources={"page": _page_values(executed, site, n_figures)}
    )
    write_text(target, without_network(formulas.put_in(body)))


def _page_values(executed: Path, site: Site, n_figures: int) -> dict[str, object]:
    from echocascade import __version__

    page = read_page(executed)
    links = [
        {
            "href": other.file,
            "label": link_label(other),
            "title": other.title,
            "here": other.name == executed.stem,
        }
        for other in site.pages
    ]
    return {
        "title": page.title,
        "run": site.run,
        "siblings": links,
        "banner": site.banner,
        "commit": site.commit[:10],
        "version": __version__,
        "style": asset("style.css") + code_style(),
        "script": asset("page.js"),
        "has_figures": n_figures > 0,
    }


def link_label(page: Page) -> str:
    """Number of a page, with the stage behind it where one notebook has a page per stage."""
    match = re.fullmatch(r"(\d+)_train_super_resolution_(.+)", page.name)
    return f"{match[1]} {match[2]}" if match else page.number


def _prepare(notebook: object, formulas: Formulas) -> int:
    """Change a notebook's cells in place for the page; returns the number of figures."""
    n_figures = 0
    for cell in notebook.cells:  # type: ignore[attr-defined]
        if cell.cell_type == "markdown":
            cell.source = formulas.take_out(cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY in data:
                data["text/html"] = figure_html(data.pop(PLOTLY))
                n_figures += 1
            elif "text/markdown" in data:
                # text from data and parameters may be in here: formulas yes, raw HTML no
                data["text/markdown"] = formulas.take_out(
                    "".join(data["text/markdown"]).replace("<", "&lt;")
                )
    return n_figures


def figure_html(figure: dict) -> str:
    """A plotly figure as a container and its JSON; ``page.js`` draws it."""
    height = figure.get("layout", {}).get("height", 450)
    content = {key: figure[key] for key in ("data", "layout", "frames") if key in figure}
    # "<" is the one character that could end the script element early
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="figure" style="min-height:{float(height):.0f}px"></div>'
        f'<script type="application/json" class="figure-data">{text}</script>'
    )


def without_network(page: str) -> str:
    """A page without any element that would fetch something: whatever a notebook displayed."""
    page = _EXTERNAL_ELEMENT.sub("", page)
    page = _EXTERNAL_LINK.sub("", page)
    return _EXTERNAL_SOURCE.sub(r"\1", page)


def find_external(page: str) -> list[str]:
    """The elements of a page that would fetch something from another place."""
    patterns = (_EXTERNAL_ELEMENT, _EXTERNAL_LINK, _EXTERNAL_SOURCE)
    return [found[0][:200] for pattern in patterns for found in pattern.finditer(page)]


def asset(name: str) -> str:
    """A style sheet or script that every page carries inside."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def code_style() -> str:
    """Colours of code, for light and dark pages."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def write_assets(directory: Path) -> None:
    """Put plotly.js of the installed plotly package into ``assets/`` of a report folder."""
    source = resources.files("plotly").joinpath("package_data/plotly.min.js")
    target = directory / "assets" / "plotly.min.js"
    content = source.read_bytes()
    if target.exists() and target.stat().st_size == len(content):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        temporary.write_bytes(content)
