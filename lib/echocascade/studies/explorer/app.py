"""The explorer's server, on the kit of the reading room.

GET  /e/TOKEN                       the page
GET  /e/TOKEN/run                   what the run is, and whom one can pick
POST /e/TOKEN/image?frame=N         a file's bytes -> a picture
POST /e/TOKEN/frame                 {picture, frame}: another frame of an uploaded clip
POST /e/TOKEN/patient               {row} -> a picture
POST /e/TOKEN/make                  {picture, asks: [{lvef_percent, seed}], seconds} -> a job
GET  /e/TOKEN/job/JOB               server-sent events: previews, then the clips' readings
POST /e/TOKEN/job/JOB/stop
GET  /e/TOKEN/clip/CLIP/NAME.mp4    (.gif .webp .avi .npz) a clip, marked as synthetic
"""

import json
import queue
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from echocascade.data.frames import Frames
from echocascade.data.marked import SUFFIXES, encode_marked_mp4, write_clip
from echocascade.data.still import StillError
from echocascade.studies.explorer.page import explorer_page
from echocascade.studies.explorer.pictures import png_source
from echocascade.studies.explorer.session import Clip, Explorer, Gone, Job, Preview
from echocascade.studies.server import LOOPBACK_NAMES, Tokens, page_policy, read_json, secured
from echocascade.studies.shield import Limits
from echocascade.studies.stills import LONGEST_S, LVEF_PERCENT, Ask, AskError

LIMITS = Limits(body_bytes=128 * 2**20, body_seconds=60.0, requests_per_minute=2400)
SMALL = Limits(body_bytes=16 * 1024)
MOST_ASKS = 6
PAGE_SOURCES = {
    "connect-src": "'self'", "media-src": "'self'", "img-src": "'self' data:",
    # the notebook shows the page in a frame; nobody else's page may
    "frame-ancestors": "http://localhost:* http://127.0.0.1:*",
}  # fmt: skip
TYPES = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp", ".avi": "video/x-msvideo"}


@dataclass(frozen=True)
class ExplorerApp:
    """The routes of one explorer behind one secret link."""

    explorer: Explorer
    tokens: Tokens

    def app(self, hosts: tuple[str, ...] = LOOPBACK_NAMES) -> ASGIApp:
        start = "/e/{token}"
        return secured(
            [
                Route(start, self._page, methods=["GET"]),
                Route(f"{start}/run", self._run, methods=["GET"]),
                Route(f"{start}/image", self._image, methods=["POST"]),
                Route(f"{start}/frame", self._frame, methods=["POST"]),
                Route(f"{start}/patient", self._patient, methods=["POST"]),
                Route(f"{start}/make", self._make, methods=["POST"]),
                Route(f"{start}/job/{{job}}", self._events, methods=["GET"]),
                Route(f"{start}/job/{{job}}/stop", self._stop, methods=["POST"]),
                Route(f"{start}/clip/{{clip}}/{{name}}", self._clip, methods=["GET"]),
            ],
            hosts=hosts,
            limits=LIMITS,
        )

    async def _page(self, request: Request) -> Response:
        self._admit(request)
        page = explorer_page()
        headers = {"content-security-policy": page_policy(page, PAGE_SOURCES)}
        return HTMLResponse(page, headers=headers)

    async def _run(self, request: Request) -> Response:
        self._admit(request)
        generator = self.explorer.generator
        low, high = generator.params.evaluation.lvef_percent
        said = {
            "run": self.explorer.name, "phantom": self.explorer.phantom,
            "fps": generator.last.fps, "pixels": generator.last.size,
            "seconds": generator.last.duration_s, "longest": LONGEST_S,
            "lvef_percent": list(LVEF_PERCENT), "evaluated": [low, high],
            "guidance": generator.scale, "reads": generator.regressor is not None,
            "patients": self.explorer.patients(), "most": MOST_ASKS,
        }  # fmt: skip
        return JSONResponse(said)

    async def _image(self, request: Request) -> Response:
        self._admit(request)
        frame = request.query_params.get("frame", "0")
        if not frame.isdecimal() or len(frame) > 6:
            raise HTTPException(400, "frame is a number from 0")
        try:
            content = await request.body()
        except ClientDisconnect:
            raise HTTPException(400, "the file ended early") from None
        if not content:
            raise HTTPException(400, "the file is empty")
        return await self._placed(content, int(frame))

    async def _frame(self, request: Request) -> Response:
        self._admit(request)
        body = await read_json(request, SMALL)
        picture = self._found(self.explorer.pictures.get, str(body.get("picture")))
        if not picture.content:
            raise HTTPException(400, "this picture has one frame")
        return await self._placed(picture.content, _whole(body.get("frame"), "frame"))

    async def _placed(self, content: bytes, frame: int) -> Response:
        try:
            key = await run_in_threadpool(self.explorer.upload, content, frame)
        except StillError as error:
            raise HTTPException(400, str(error).removeprefix("image: ")) from None
        return self._picture(key)

    async def _patient(self, request: Request) -> Response:
        self._admit(request)
        row = _whole((await read_json(request, SMALL)).get("row"), "row")
        return self._picture(self._found(self.explorer.patient, row))

    def _picture(self, key: str) -> Response:
        picture = self.explorer.pictures.get(key)
        return JSONResponse(
            {"picture": key, "image": png_source(picture.frame), "said": picture.said}
        )

    async def _make(self, request: Request) -> Response:
        self._admit(request)
        body = await read_json(request, SMALL)
        asks, seconds = _asks(body.get("asks")), body.get("seconds")
        length = None if seconds is None else _number(seconds, "seconds")
        if length is not None and length <= self.explorer.generator.last.duration_s:
            length = None
        try:
            job = self._found(
                lambda key: self.explorer.start(key, asks, length), str(body.get("picture"))
            )
        except AskError as error:
            raise HTTPException(400, str(error)) from None
        return JSONResponse({"job": job, "making": len(self.explorer.jobs.get(job).missing)})

    async def _events(self, request: Request) -> Response:
        self._admit(request)
        job = self._found(self.explorer.jobs.get, request.path_params["job"])
        return StreamingResponse(self._stream(job), media_type="text/event-stream")

    async def _stream(self, job: Job) -> AsyncIterator[str]:
        previews = job.follow()
        while True:
            try:
                preview = await run_in_threadpool(next, previews, None)
            except queue.Empty:
                job.failed = job.failed or "no answer for two minutes"
                break
            if preview is None:
                break
            yield _event("preview", _shown_preview(preview, job))
        if job.failed:
            yield _event("failed", {"error": job.failed})
            return
        clips = [self.explorer.clips.find(key) for key in job.clips]
        shown = [_shown(k, c) for k, c in zip(job.clips, clips, strict=True) if c is not None]
        yield _event("clips", {"clips": shown})

    async def _stop(self, request: Request) -> Response:
        self._admit(request)
        self._found(self.explorer.jobs.get, request.path_params["job"]).stop.set()
        return JSONResponse({"stopped": True})

    async def _clip(self, request: Request) -> Response:
        self._admit(request)
        clip = self._found(self.explorer.clips.get, request.path_params["clip"])
        name = Path(request.path_params["name"])
        if name.suffix not in SUFFIXES:
            raise HTTPException(404, "not found")
        content = await run_in_threadpool(_file, clip, name.suffix, self.explorer.name)
        return _ranged(content, TYPES.get(name.suffix, "application/octet-stream"), request)

    def _admit(self, request: Request) -> None:
        """404 for anyone without the link, as for any other address."""
        if self.tokens.owner(request.path_params["token"]) is None:
            raise HTTPException(404, "not found")

    def _found(self, get, key):  # type: ignore[no-untyped-def]
        try:
            return get(key)
        except Gone as error:
            raise HTTPException(410, str(error)) from None


def _asks(given: object) -> list[Ask]:
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_ASKS:
        raise HTTPException(400, f"asks is a list of 1 to {MOST_ASKS}")
    asks = []
    for entry in given:
        if not isinstance(entry, dict):
            raise HTTPException(400, "an ask is an object with lvef_percent and seed")
        lvef = _number(entry.get("lvef_percent"), "lvef_percent")
        asks.append(Ask(lvef, _whole(entry.get("seed", 0), "seed")))
    return asks


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise HTTPException(400, f"{name} is a number")
    return float(value)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise HTTPException(400, f"{name} is a whole number from 0")
    return value


def _event(kind: str, content: Mapping[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n"


def _shown_preview(preview: Preview, job: Job) -> dict[str, object]:
    """The clips under way as one picture: a row a clip, a column a frame."""
    n_clips, n_frames = preview.videos.shape[:2]
    sheet: Frames = rearrange(preview.videos, "n t h w c -> (n h) (t w) c")
    return {
        "stage": preview.stage, "share": round(preview.share, 3), "sheet": png_source(sheet),
        "rows": job.missing[:n_clips], "frames": n_frames,
    }  # fmt: skip


def _shown(key: str, clip: Clip) -> dict[str, object]:
    """What the page writes beside a clip; the area in percent of the frame."""
    pixels = clip.video.shape[1] * clip.video.shape[2]
    area = [None if not np.isfinite(a) else round(100 * float(a) / pixels, 3)
            for a in clip.stick.area]  # fmt: skip
    return {
        "clip": key, "lvef_percent": clip.ask.lvef_percent, "seed": clip.ask.seed,
        "regressor": _rounded(clip.lvef_measured), "stick": _rounded(clip.stick.lvef_percent),
        "area": area, "fps": clip.fps, "frames": len(clip.video),
    }  # fmt: skip


def _rounded(value: float) -> float | None:
    return round(float(value), 1) if np.isfinite(value) else None


def _file(clip: Clip, suffix: str, run: str) -> bytes:
    about = f"LVEF asked {clip.ask.lvef_percent:g} %, seed {clip.ask.seed}, run {run}."
    if suffix == ".mp4":
        return encode_marked_mp4(clip.video, clip.fps, about)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{suffix}"
        write_clip(path, clip.video, clip.fps, about)
        return path.read_bytes()


def _ranged(content: bytes, kind: str, request: Request) -> Response:
    """The content, or the one part of it that is asked for: players seek in ranges."""
    asked = request.headers.get("range", "")
    first, dash, last = asked.removeprefix("bytes=").partition("-")
    headers = {"accept-ranges": "bytes"}
    if not (asked.startswith("bytes=") and dash and first.isdecimal()):
        return Response(content, media_type=kind, headers=headers)
    start = int(first)
    end = min(int(last) if last.isdecimal() else len(content) - 1, len(content) - 1)
    if start > end:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(content)}"})
    headers["content-range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, media_type=kind, headers=headers)
