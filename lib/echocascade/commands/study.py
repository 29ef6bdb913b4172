"""``echocascade study``: create, serve, import, analyse."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from echocascade.commands.runs import find_run
from echocascade.params import ParamsError
from echocascade.report.files import flatten
from echocascade.report.runs import RunError, project_root, run_folder
from echocascade.studies.expert.answers import AnswerStore, NotSavedError
from echocascade.studies.expert.errors import StudyError
from echocascade.studies.expert.folder import STUDY, Study, load_links, load_study
from echocascade.studies.expert.imported import ImportFileError, import_file
from echocascade.studies.server import LOOPBACK_NAMES, ServerError, hosts_for
from echocascade.studies.server import serve as serve_app

USER_ERRORS = (StudyError, ImportFileError, NotSavedError, ServerError, RunError, ParamsError)
FOLDER = "study"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def create(
    run_name: str, out: Path | None, readers: Sequence[str], changes: Sequence[str], keep: bool
) -> None:
    """Make a study and say where everything is; `keep`: one that is there stays as it is."""
    from echocascade.report import provenance
    from echocascade.report.progress import progress_callback
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study, reader_names
    from echocascade.studies.reading_room.page import write_file_pages

    run = find_run(run_name)
    target = out.resolve() if out is not None else run / FOLDER
    if keep and (target / STUDY).is_file():
        typer.echo(f"the study in {_near(target)} is kept as it is")
        return
    bad = [name for name in readers if not NAME.fullmatch(name)]
    if bad:
        raise StudyError(f"reader {bad[0]!r}: 1 to 32 letters, digits, '.', '-' or '_'")
    source = RunClips.load(run, project_root() / "data", changes)
    names = list(readers) or reader_names(source.params.study.readers)
    facts = {"run": run.name, **provenance.git_state(project_root())}
    design = create_study(source, names, target, facts, progress_callback("study"))
    study = load_study(target)
    links = load_links(target)
    write_file_pages(study, links)
    for note in design.notes:
        typer.echo(f"note: {note}", err=True)
    trials = {len(trials) for trials in design.readers.values()}
    typer.echo(f"{len(names)} readers, {max(trials)} trials each, practice and repeats included")
    typer.echo(f"study in {_near(target)}; its key, which readers must not see, in key/")
    typer.echo(f"  reading room: echocascade study serve {_near(target)}")
    typer.echo(f"  without a network: {_near(target)}/files/READER.html, each reader their own")


def serve(
    name: str, host: str, port: int, certificate: Path | None, private_key: Path | None
) -> None:
    """Open the reading room of a study until interrupted."""
    from echocascade.studies.reading_room.app import Room

    study = find_study(name)
    links = load_links(study.directory)
    room = Room.open(study)

    def ready(address: str) -> None:
        typer.echo(f"reading room of {_near(study.directory)}; one secret link a reader:")
        for reader, link in links.items():
            typer.echo(f"  {reader}: {address}/r/{link.token}")
        if host not in LOOPBACK_NAMES and certificate is None:
            typer.echo(
                "warning: plain HTTP; on a network anyone on the way reads the links", err=True
            )
        typer.echo("stop with Ctrl-C; every answer that was given is kept")

    try:
        serve_app(
            room.app(hosts_for(host)), host, port, certificate=certificate,
            private_key=private_key, ready=ready,
        )  # fmt: skip
    finally:
        room.answers.close()


def import_files(name: str, files: Sequence[Path]) -> None:
    """Merge files of answers, each whole or not at all."""
    study = find_study(name)
    links = load_links(study.directory)
    store = AnswerStore(study.answers_file)
    try:
        for path in files:
            done = import_file(path, study, links, store)
            said = f"{done.reader}: {done.new} new answers"
            said += f", {done.known} that were there already" if done.known else ""
            said += f", {done.second} to trials with an earlier answer, which stays" * bool(
                done.second
            )
            typer.echo(said)
    finally:
        store.close()


def analyse(name: str) -> dict[str, object]:
    """All results of a study, see `expert.analysis.analyse`."""
    from echocascade.studies.expert.analysis import analyse as analyse_answers
    from echocascade.studies.expert.answer_table import load_answers

    study = find_study(name)
    return {"study": study.directory.name, **analyse_answers(load_answers(study))}


def as_json(found: Mapping[str, object]) -> dict[str, object]:
    """Results as JSON has them: plain numbers, null for what is undefined, the paper's row too."""
    from echocascade.report.study_tables import paper_row

    plain = _plain({**found, "paper": paper_row()})
    assert isinstance(plain, dict)
    return plain


def describe(found: Mapping[str, Any]) -> str:
    """Results for people: a line a reader, the paper's row, agreement, and the cautions."""
    from echocascade.report.study_tables import lines_of

    return "\n".join([*lines_of(found), *(f"note: {note}" for note in found["notes"])])


def find_study(name: str) -> Study:
    """A study by its folder, or that of the run of this name; StudyError without one."""
    folder = Path(name)
    if (folder / STUDY).is_file():
        return load_study(folder.resolve())
    within = folder / FOLDER if folder.is_dir() else _of_run(name)
    if within is not None and (within / STUDY).is_file():
        return load_study(within.resolve())
    raise StudyError(f"no study in {name}; make one: echocascade study create RUN")


def _of_run(name: str) -> Path | None:
    try:
        return run_folder(name, project_root()) / FOLDER
    except RunError:
        return None


def _near(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return flatten({"x": value})["x"]
