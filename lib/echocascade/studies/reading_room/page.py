"""The page that a reader sees, assembled into one piece of HTML that fetches nothing else."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from echocascade.data.atomic import write_text
from echocascade.studies.expert.folder import Link, Reader, Settings, Study
from echocascade.studies.server import page_policy

FILES = "files"
# what a page opened as a file may do: play its own clips, and no connection anywhere
FILE_SOURCES = {"connect-src": "'none'", "media-src": "blob:", "img-src": "data:"}


def room_page(settings: Settings) -> str:
    """The page of the reading room; who reads follows from its address alone."""
    return _assemble(settings, ("reader.js", "room.js"))


def file_page(study: Study, reader: Reader, link: Link) -> str:
    """The same page as one file with the reader's clips inside, for a PC without a network.

    The signing key in it protects what comes back against damage, hand-editing and mixing up of
    readers or studies. It does not protect against a reader who takes the file apart, who
    could as well have clicked other answers.
    """
    data = {
        "study": study.settings.study, "digest": study.digest(), "reader": reader.name,
        "signing_key": link.signing_key,
        "trials": [
            {"id": trial.id, "practice": trial.practice,
             "clips": [_base64(study, name) for name in trial.files]}
            for trial in reader.trials
        ],
    }  # fmt: skip
    block = f'<script type="application/json" id="data">{_json(data)}</script>'
    page = _assemble(study.settings, ("reader.js", "sha256.js", "file.js"), block)
    policy = page_policy(page, FILE_SOURCES)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return page.replace("<!--POLICY-->", meta, 1)


def write_file_pages(study: Study, links: Mapping[str, Link]) -> list[Path]:
    """``STUDY/files/READER.html`` of every reader; readable for the owner alone."""
    folder = study.directory / FILES
    folder.mkdir(exist_ok=True)
    pages = []
    for name, reader in study.readers.items():
        path = folder / f"{name}.html"
        write_text(path, file_page(study, reader, links[name]))
        path.chmod(0o600)
        pages.append(path)
    return pages


def _assemble(settings: Settings, scripts: tuple[str, ...], data: str = "") -> str:
    shown = {**asdict(settings)}
    page = _part("index.html").replace("<!--SETTINGS-->", _json(shown))
    page = page.replace("/*STYLE*/", _part("style.css"))
    page = page.replace("/*SCRIPT*/", "".join(_part(name) for name in scripts))
    return page.replace("<!--DATA-->", data)


def _part(name: str) -> str:
    folder = resources.files("echocascade.studies.reading_room").joinpath("page")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _json(content: object) -> str:
    """JSON that can stand inside an HTML element: no character of it can end one."""
    return json.dumps(content).replace("<", "\\u003c")


def _base64(study: Study, name: str) -> str:
    return base64.b64encode(study.clip(name).read_bytes()).decode("ascii")
