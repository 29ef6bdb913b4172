"""The explorer inside a notebook: clips made beforehand behind a slider, or the live page."""

import base64
import html
import json
import os
import threading
import uuid
from importlib import resources

import numpy as np

from echocascade.data.frames import set_channels
from echocascade.data.marked import encode_marked_mp4
from echocascade.report.runs import EXECUTION
from echocascade.report.sampling_figures import png_source
from echocascade.studies.stills import Made, StillGenerator

WIDTH, HEIGHT = 600, 70  # of the curve's own coordinates


class Shown:
    """HTML that Jupyter and the report show as it is."""

    def __init__(self, fragment: str, said: str) -> None:
        self._fragment, self._said = fragment, said

    def _repr_html_(self) -> str:
        return self._fragment

    def __repr__(self) -> str:
        return f"<{self._said}>"


def explorer_view(made: Made) -> Shown:
    """A slider over the clips of `made`, the same noise at several LVEFs; needs no server."""
    areas = 100 * np.stack([stick.area for stick in made.stick]) / made.frame[..., 0].size
    known = areas[np.isfinite(areas)]
    lowest, highest = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    clips = [
        {
            "asked": f"{ask.lvef_percent:g} %", "source": _video(made, i),
            "read": _reading(made, i), "curve": _curve(areas[i], lowest, highest),
            "file": f"synthetic-lvef{ask.lvef_percent:g}-noise{ask.seed}.mp4",
        }
        for i, ask in enumerate(made.asks)
    ]  # fmt: skip
    said = {
        "VIEW": f"view-{uuid.uuid4().hex[:8]}",
        "IMAGE": png_source(set_channels(made.frame[None], 3)[0]),
        "SECONDS": f"{made.videos.shape[1] / made.fps:g}",
        "LOWEST": f"{lowest:.1f}", "HIGHEST": f"{highest:.1f}",
        "DATA": json.dumps(clips).replace("<", "\\u003c"),
    }  # fmt: skip
    page = resources.files("echocascade.report").joinpath("templates/explorer_view.html")
    fragment = page.read_text(encoding="utf-8")
    for key, value in said.items():
        fragment = fragment.replace("{{" + key + "}}", value)
    return Shown(fragment, f"{len(clips)} clips behind a slider")


def live_explorer(generator: StillGenerator, run: str, phantom: bool) -> Shown:
    """The explorer's page in a frame, served by this kernel; under the runner how to open it.

    A page that was executed and is read later has no kernel behind it.
    """
    command = html.escape(f"echocascade explore {run}")
    if os.environ.get(EXECUTION):
        return Shown(f"<p>To drop your own image in: <code>{command}</code></p>", "the explorer")
    from echocascade.studies.explorer.app import ExplorerApp
    from echocascade.studies.explorer.session import Explorer
    from echocascade.studies.server import Tokens, new_token, serve

    token, opened = new_token(), threading.Event()
    app = ExplorerApp(Explorer(generator, run, phantom), Tokens.of({"notebook": token})).app()
    address: list[str] = []

    def ready(found: str) -> None:
        address.append(found)
        opened.set()

    threading.Thread(
        target=serve, args=(app,), kwargs={"port": 0, "ready": ready}, daemon=True
    ).start()
    opened.wait(10)
    link = html.escape(f"{address[0]}/e/{token}")
    frame = (
        f'<iframe src="{link}" title="explorer" style="width:100%;height:820px;border:0"></iframe>'
    )
    return Shown(f'{frame}<p><a href="{link}">open it in a tab</a></p>', "the explorer, live")


def _video(made: Made, index: int) -> str:
    ask = made.asks[index]
    about = f"LVEF asked {ask.lvef_percent:g} %, seed {ask.seed}."
    data = encode_marked_mp4(made.videos[index], made.fps, about)
    return "data:video/mp4;base64," + base64.b64encode(data).decode("ascii")


def _reading(made: Made, index: int) -> str:
    judges = {
        "regressor": float(made.lvef_measured[index]),
        "segmentation": made.stick[index].lvef_percent,
    }
    said = [f"{judge} {value:.0f} %" for judge, value in judges.items() if np.isfinite(value)]
    return " · ".join(said) or "not readable"


def _curve(area: np.ndarray, lowest: float, highest: float) -> str:
    """An SVG path of an area curve, broken where it is not known."""
    x = np.linspace(0, WIDTH, len(area))
    y = HEIGHT - 4 - (HEIGHT - 8) * (area - lowest) / max(highest - lowest, 1e-9)
    steps, open_ = [], False
    for px, py in zip(x, y, strict=True):
        if np.isfinite(py):
            steps.append(f"{'L' if open_ else 'M'}{px:.1f} {py:.1f}")
        open_ = bool(np.isfinite(py))
    return "".join(steps)
