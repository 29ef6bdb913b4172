"""Finding a run that exists."""

from pathlib import Path

from echocascade.report.runs import RunError, project_root, run_folder


def find_run(name: str) -> Path:
    """The folder of a run, given by its name in outputs/ or its path; RunError without one."""
    folder = Path(name).resolve()
    if not (folder / "params.yaml").is_file():
        folder = run_folder(name, project_root())
    if not (folder / "params.yaml").is_file():
        runs = sorted(file.parent.name for file in folder.parent.glob("*/params.yaml"))
        raise RunError(f"no run {name!r}; there are {', '.join(runs) or 'none'}")
    return folder
