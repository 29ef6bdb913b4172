"""The explorer's page, assembled into one piece of HTML that fetches from its server alone."""

from importlib import resources


def explorer_page() -> str:
    """The page: everything that differs between runs it asks the server for."""
    page = _part("index.html").replace("/*STYLE*/", _part("style.css"))
    return page.replace("/*SCRIPT*/", "".join(_part(f"{n}.js") for n in ("curve", "explorer")))


def _part(name: str) -> str:
    folder = resources.files("echocascade.studies.explorer").joinpath("page")
    return folder.joinpath(name).read_text(encoding="utf-8")
