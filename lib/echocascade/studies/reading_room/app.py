"""The reading room: one link a reader, one trial at a time, an answer on disk before the next.

    GET  /r/TOKEN                 the page, the same for everybody
    GET  /r/TOKEN/state           settings, how far this reader is, the trial to show
    GET  /r/TOKEN/clip/TRIAL/N    the N-th clip of the trial that is being shown, and of no other
    POST /r/TOKEN/answer          saves an answer, and says what `state` says

The room reads ``study.json``, ``clips/`` and ``answers.sqlite``; it never opens the key.
"""

import re
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from echocascade.studies.expert.answers import AnswerStore, NotSavedError
from echocascade.studies.expert.folder import Reader, Study
from echocascade.studies.expert.submitted import SubmissionError, read_submission
from echocascade.studies.reading_room.page import room_page
from echocascade.studies.server import (
    LOOPBACK_NAMES,
    Tokens,
    page_response,
    read_json,
    secured,
)
from echocascade.studies.shield import Limits

LIMITS = Limits(body_bytes=8 * 1024)
PAGE_SOURCES = {"connect-src": "'self'", "media-src": "blob:", "img-src": "data:"}
_PLACE = re.compile("[01]")


@dataclass(frozen=True)
class Room:
    """A study being read: what is shown, and where answers go."""

    study: Study
    answers: AnswerStore
    tokens: Tokens

    @staticmethod
    def open(study: Study) -> "Room":
        """NotSavedError when the answers file is missing or cannot be opened."""
        names = {reader.token_sha256: name for name, reader in study.readers.items()}
        return Room(study, AnswerStore(study.answers_file), Tokens(names))

    def app(
        self,
        hosts: tuple[str, ...] = LOOPBACK_NAMES,
        limits: Limits = LIMITS,
    ) -> ASGIApp:
        """The server's app; see `studies.server.secured` for what stands in front of it."""
        return secured(
            [
                Route("/r/{token}", self._page, methods=["GET"]),
                Route("/r/{token}/state", self._state, methods=["GET"]),
                Route("/r/{token}/clip/{trial}/{place}", self._clip, methods=["GET"]),
                Route("/r/{token}/answer", self._answer, methods=["POST"]),
            ],
            hosts=hosts,
            limits=limits,
        )

    async def _page(self, request: Request) -> Response:
        reader = self._reader(request)
        await self._note(reader, "opened")
        return page_response(room_page(self.study.settings), PAGE_SOURCES)

    async def _state(self, request: Request) -> Response:
        return JSONResponse(await self._progress(self._reader(request)))

    async def _clip(self, request: Request) -> Response:
        reader = self._reader(request)
        position = await self._position(reader)
        trial = reader.trials[position] if position < len(reader.trials) else None
        place = request.path_params["place"]
        if trial is None or trial.id != request.path_params["trial"] or not _PLACE.fullmatch(place):
            raise HTTPException(404, "not found")
        if int(place) >= len(trial.files):
            raise HTTPException(404, "not found")
        content = await run_in_threadpool(self.study.clip(trial.files[int(place)]).read_bytes)
        return Response(content, media_type="video/mp4")

    async def _answer(self, request: Request) -> Response:
        reader = self._reader(request)
        body = await read_json(request, LIMITS)
        places = {trial.id: position for position, trial in enumerate(reader.trials)}
        place = places.get(str(body.get("trial")))
        current = await self._position(reader)
        if place is None or place > current:
            raise HTTPException(404, "not found")
        try:
            answer = read_submission(body, self.study, reader.name, place)
        except SubmissionError as error:
            raise HTTPException(400, str(error)) from None
        try:
            first = await run_in_threadpool(self.answers.save, answer)
        except NotSavedError:
            raise HTTPException(503, "not saved") from None
        if not first:
            await self._note(reader, "second answer", f"{answer.trial} {answer.answer}")
        return JSONResponse({"saved": True, "first": first, **await self._progress(reader)})

    def _reader(self, request: Request) -> Reader:
        """The reader whom the link belongs to; 404 for anyone else, as for any other address."""
        name = self.tokens.owner(request.path_params["token"])
        if name is None:
            raise HTTPException(404, "not found")
        return self.study.readers[name]

    async def _position(self, reader: Reader) -> int:
        """The first trial without an answer."""
        try:
            answered = await run_in_threadpool(self.answers.answered, reader.name)
        except NotSavedError:
            raise HTTPException(503, "the answers cannot be read") from None
        open_trials = (i for i in range(len(reader.trials)) if i not in answered)
        return next(open_trials, len(reader.trials))

    async def _progress(self, reader: Reader) -> dict[str, object]:
        position = await self._position(reader)
        return progress(self.study, reader, position)

    async def _note(self, reader: Reader, what: str, detail: str = "") -> None:
        """Noted if it can be: what only explains must not keep a reader from answering."""
        try:
            await run_in_threadpool(self.answers.note, reader.name, what, detail)
        except NotSavedError:
            return


def progress(study: Study, reader: Reader, position: int) -> dict[str, object]:
    """How far a reader is, and the trial to show now; nothing about trials to come."""
    practice = sum(trial.practice for trial in reader.trials)
    shown = None
    if position < len(reader.trials):
        trial = reader.trials[position]
        shown = {"id": trial.id, "clips": len(trial.files), "practice": trial.practice}
    return {
        "position": position,
        "total": len(reader.trials),
        "practice": practice,
        "trial": shown,
    }


__all__ = ["LIMITS", "Room", "progress"]
