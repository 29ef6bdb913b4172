"""The report of a run: a page per notebook and ``index.html`` in front of them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from echocascade import __version__
from echocascade.params import Params, load_params
from echocascade.report import html, runs
from echocascade.report.files import read_json, write_text
from echocascade.report.headlines import HEADLINES, Headline, present
from echocascade.report.media import image_tag, video_tag
from echocascade.report.progress import format_duration

# below this many clips a report says on how little data it stands
FEW_CLIPS = 1000


def write_report(directory: Path, headlines: Sequence[Headline] = HEADLINES) -> Path:
    """Write ``report/`` of a run folder and return its ``index.html``.

    Works on an unfinished run too: what was executed has a page, what failed is named.
    """
    notebooks = sorted((directory / "notebooks").glob("[0-9]*.ipynb"))
    executed = [file for file in notebooks if not file.name.endswith(".partial.ipynb")]
    pages = tuple(html.read_page(file) for file in executed)
    provenance = _read(directory / "provenance.json")
    site = html.Site(
        run=directory.name,
        pages=pages,
        banner=banner(directory),
        commit=str(provenance.get("commit") or ""),
    )
    report = directory / "report"
    html.write_assets(report)
    for file, page in zip(executed, pages, strict=True):
        html.render_notebook(file, report / page.file, site)
    _remove_stale_pages(report, pages)
    write_text(report / "index.html", render_index(directory, site, headlines))
    return report / "index.html"


def banner(directory: Path) -> str:
    """What a reader must know before any number: a phantom, or very few real clips."""
    if runs.run_is_phantom(directory):
        return runs.PHANTOM_BANNER
    n_clips = _read(directory / "results.json").get("data.n_clips")
    if isinstance(n_clips, int) and n_clips < FEW_CLIPS:
        return (
            f"These numbers stand on {n_clips} clips, where EchoNet-Dynamic has 10,030."
            " They show that the steps run on real data, not how well the method does."
        )
    return ""


def render_index(directory: Path, site: html.Site, headlines: Sequence[Headline]) -> str:
    """The index page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    params = load_params(directory / "params.yaml")
    results = _read(directory / "results.json")
    provenance = _read(directory / "provenance.json")
    steps = _steps(directory, site.pages)
    environment = Environment(
        loader=FileSystemLoader(html.TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(
        run=site.run,
        version=__version__,
        style=html.asset("style.css"),
        banner=site.banner,
        shows_patients=not runs.run_is_phantom(directory),
        trouble=_trouble(steps),
        summary=_summary(params, results),
        hero=_hero(directory / "samples" / "hero.npz"),
        numbers=_numbers(results, headlines),
        steps=steps,
        run_facts=_run_facts(params, results, provenance),
        machine_facts=_machine_facts(provenance, steps),
        stages=_stages(params),
        params_yaml=params.dump_yaml(),
    )


def _read(file: Path) -> dict[str, object]:
    return read_json(file) if file.exists() else {}


def _remove_stale_pages(report: Path, pages: Sequence[html.Page]) -> None:
    keep = {page.file for page in pages} | {"index.html"}
    for file in report.glob("*.html"):
        if file.name not in keep:
            file.unlink()


def _steps(directory: Path, pages: Sequence[html.Page]) -> list[dict[str, object]]:
    """Every notebook of the run in order, executed or failed, with its time and story."""
    steps = {page.name: _step(directory, page) for page in pages}
    for file in sorted((directory / "logs").glob("*.failure.json")):
        name = file.name.removesuffix(".failure.json")
        page = html.Page(name, name.partition("_")[2].replace("_", " "), "")
        step = steps.setdefault(name, {**_step(directory, page), "href": "", "took": ""})
        step["failure"] = _read(file)["reason"]
    return [steps[name] for name in sorted(steps)]


def _step(directory: Path, page: html.Page) -> dict[str, object]:
    status = _read(directory / "logs" / f"{page.name}.status.json")
    seconds = status.get("duration_s")
    label = html.link_label(page)
    return {
        "number": page.number,
        "label": label,
        "stage": label.partition(" ")[2],
        "title": page.title,
        "story": html.inline_html(page.story),
        "href": page.file,
        "failure": "",
        "seconds": seconds or 0.0,
        "took": format_duration(float(str(seconds))) if seconds is not None else "",
    }


def _trouble(steps: Sequence[dict[str, object]]) -> str:
    failed = [str(step["title"]) for step in steps if step["failure"]]
    return f"This run is not complete. Stopped: {', '.join(failed)}." if failed else ""


def _summary(params: Params, results: dict[str, object]) -> str:
    """One or two sentences: what was trained on what."""
    last = params.cascade.stages[-1]
    n_stages = len(params.cascade.stages)
    data = "a phantom" if params.is_phantom else Path(params.data.root).name
    n_clips = results.get("data.n_clips")
    clips = f"{n_clips} clips of {data}" if n_clips else data
    stages = "One stage" if n_stages == 1 else f"A cascade of {n_stages} stages"
    title = f"{params.title.rstrip('.')}. " if params.title else ""
    return (
        f"{title}{stages}, trained on {clips}, makes videos of {last.n_frames} frames"
        f" ({last.duration_s:g} s) at {last.size} × {last.size} pixels."
    )


def _hero(file: Path) -> dict[str, object] | None:
    """The clips in front: see `hero.npz` in the notebooks' rules."""
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"samples/{file.name} cannot be read: {error}") from error
    fps = float(arrays["fps"])
    measured = arrays.get("lvef_measured", np.full(len(arrays["videos"]), np.nan))
    clips = [
        {
            "video": video_tag(video, fps, smooth=True),
            "requested": f"{requested:.0f}",
            "measured": "" if np.isnan(found) else f"{found:.0f}",
        }
        for video, requested, found in zip(
            arrays["videos"], arrays["lvef_percent"], measured, strict=True
        )
    ]
    return {"frame": image_tag(arrays["frame"], "conditioning frame"), "clips": clips}


def _numbers(results: dict[str, object], headlines: Sequence[Headline]) -> list[dict[str, object]]:
    level = results.get("counterfactual.level", 0.95)
    return [
        {
            "label": headline.label,
            "value": headline.value(results),
            "is_text": isinstance(results[headline.key], str),
            "interval": _interval_text(headline, results, level),
            "reading": headline.reading,
        }
        for headline in present(results, headlines)
    ]


def _interval_text(headline: Headline, results: dict[str, object], level: object) -> str:
    interval = headline.interval(results)
    share = level if isinstance(level, (int, float)) else 0.95
    return f"{interval} ({100 * share:.0f} % interval)" if interval else ""


def _run_facts(
    params: Params, results: dict[str, object], provenance: dict[str, object]
) -> list[tuple[str, str]]:
    data = "phantom, drawn for this run" if params.is_phantom else Path(params.data.root).name
    splits = [
        f"{results[f'data.splits.{split}']} {split}"
        for split in ("TRAIN", "VAL", "TEST")
        if f"data.splits.{split}" in results
    ]
    return [
        ("Command", str(provenance.get("command", "unknown"))),
        ("Data", data + (f" ({', '.join(splits)})" if splits else "")),
        ("Regressor", f"{params.regressor.preset}, {params.regressor.size} pixels"),
        ("Reported on", f"{params.evaluation.clips} clips of {params.evaluation.split}"),
        ("Draws a clip", str(params.evaluation.draws)),
        ("Seed", str(params.seed)),
    ]


def _machine_facts(
    provenance: dict[str, object], steps: Sequence[dict[str, object]]
) -> list[tuple[str, str]]:
    total = sum(float(str(step["seconds"])) for step in steps)
    commit = str(provenance.get("commit") or "")[:10] or "outside git"
    packages = provenance.get("packages")
    torch = packages.get("torch", "?") if isinstance(packages, dict) else "?"
    return [
        ("Started", str(provenance.get("started", "unknown"))),
        ("Time in notebooks", format_duration(total)),
        ("Commit", commit + (", with changes not committed" if provenance.get("dirty") else "")),
        ("Processor", f"{provenance.get('processor', '?')}, {provenance.get('cores', '?')} cores"),
        ("Device", str(provenance.get("device", "?"))),
        ("Software", f"Python {provenance.get('python', '?')}, torch {torch}"),
    ]


def _stages(params: Params) -> list[dict[str, object]]:
    return [
        {
            "name": stage.name,
            "role": params.cascade.role(index),
            "size": stage.size,
            "n_frames": stage.n_frames,
            "fps": stage.fps,
            "sampler": stage.sampler.method,
            "steps": stage.sampler.steps,
        }
        for index, stage in enumerate(params.cascade.stages)
    ]
