"""The page in a real browser: a whole study, and everything that goes wrong in one."""

import json
import re

import pytest

from echocascade.studies.expert.answers import AnswerStore
from echocascade.studies.expert.folder import load_key, load_links
from echocascade.studies.expert.imported import import_file, sign

pytestmark = pytest.mark.browser

OPEN = "#answers button:enabled"


class Reader:
    """One reader at one tab: clicks, and what the tab asked of whom."""

    def __init__(self, context, address: str) -> None:
        self.tab = context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self.heard)
        self.address = address
        self.tab.goto(address)

    def heard(self, message) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def begin(self) -> None:
        self.tab.click("#start")
        self.tab.wait_for_selector(OPEN)

    def answer(self, word: str = "real") -> None:
        """One answer, and the next clip or the end."""
        before = self.tab.inner_text("#place")
        self.tab.click(f'[data-answer="{word}"]:enabled')
        self.tab.wait_for_function(
            "before => document.getElementById('place').innerText !== before", arg=before
        )
        if self.tab.locator("#end").is_hidden():
            self.tab.wait_for_selector(OPEN)

    def finish(self, word: str = "real") -> None:
        while self.tab.locator("#end").is_hidden():
            self.answer(word)

    def comes_back(self) -> str:
        """What the page says to one who comes back; it asks the server first how far they were."""
        self.tab.wait_for_selector("#intro:not([hidden])")
        return self.tab.inner_text("#intro")

    @property
    def notice(self) -> str:
        return self.tab.inner_text("#notice")


@pytest.fixture
def context(browser):
    made = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    yield made
    made.close()


def test_three_readers_read_a_whole_study(short_room, browser):
    """With a reload, a double click and the keyboard on the way."""
    contexts = [browser.new_context() for _ in range(3)]
    readers = [
        Reader(context, short_room.link(name))
        for context, name in zip(contexts, short_room.links, strict=True)
    ]
    first, second, third = readers
    first.begin()
    first.answer()
    first.tab.reload()
    assert "1 of 6 clips are answered" in first.comes_back()
    first.begin()
    first.finish("generated")

    second.begin()
    second.answer()
    second.tab.dblclick('[data-answer="real"]')
    second.tab.wait_for_function(
        "() => document.getElementById('place').innerText.startsWith('2 of')"
    )
    second.tab.wait_for_selector(OPEN)
    assert [row["position"] for row in short_room.rows() if row["reader"] == "reader-2"] == [0, 1]
    second.finish()

    third.begin()
    for key in ("r", "g", "f", "r", "g", "r"):
        before = third.tab.inner_text("#place")
        third.tab.wait_for_selector(OPEN)
        third.tab.keyboard.press(key)
        third.tab.wait_for_function(
            "b => document.getElementById('place').innerText !== b", arg=before
        )
    third.tab.wait_for_selector("#end:not([hidden])")

    rows = short_room.rows()
    assert len(rows) == 18
    assert {(row["reader"], row["position"]) for row in rows} == {
        (f"reader-{r}", p) for r in (1, 2, 3) for p in range(6)
    }
    said = [row["answer"] for row in rows if row["reader"] == "reader-3"]
    assert said == ["real", "generated", "generated", "real", "generated", "real"]
    for row in rows:
        assert 500 < row["response_ms"] < 60_000
        assert row["detail"]["plays"] >= 1 and row["detail"]["width"] > 0
    own = f"http://127.0.0.1:{short_room.port}/"
    for reader in readers:
        assert reader.errors == []
        assert [u for u in reader.requests if not u.startswith((own, "blob:", "data:"))] == []
        assert "All answers are saved" in reader.tab.inner_text("#end")
    for context in contexts:
        context.close()


def test_a_second_tab_adds_no_row_and_says_so(short_room, context):
    """W02: same link twice; the first answer counts, the other tab goes on with the next clip."""
    one, two = (Reader(context, short_room.link("reader-1")) for _ in range(2))
    one.begin()
    two.begin()
    one.answer("real")
    two.answer("generated")
    assert "the first answer counts" in two.notice
    assert [row["answer"] for row in short_room.rows()] == ["real"]
    assert two.tab.inner_text("#place") == one.tab.inner_text("#place")


def test_the_back_button_changes_no_answer(short_room, context):
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    reader.answer("real")
    reader.tab.goto("about:blank")
    reader.tab.go_back()
    assert "1 of 6" in reader.comes_back()
    assert len(short_room.rows()) == 1


def test_an_answer_waits_for_a_server_that_is_away(short_room, context):
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    short_room.kill()
    reader.tab.click('[data-answer="generated"]')
    reader.tab.wait_for_function(
        "() => document.getElementById('notice').innerText.startsWith('Not saved yet, retrying')"
    )
    assert reader.tab.locator(OPEN).count() == 0
    assert short_room.rows() == []
    short_room.start()
    reader.tab.wait_for_function(
        "() => document.getElementById('place').innerText.startsWith('1 of')"
    )
    assert reader.notice == ""
    assert [row["answer"] for row in short_room.rows()] == ["generated"]


def test_a_server_killed_between_answer_and_reply_costs_nothing(short_room, context):
    """W01, with a SIGKILL in the instant after the commit."""
    short_room.kill()
    short_room.start(dying=True)
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    reader.tab.click('[data-answer="generated"]')
    reader.tab.wait_for_function(
        "() => document.getElementById('notice').innerText.startsWith('Not saved yet, retrying')"
    )
    short_room.kill()
    assert [row["answer"] for row in short_room.rows()] == ["generated"]
    short_room.start()
    reader.tab.wait_for_function(
        "() => document.getElementById('place').innerText.startsWith('1 of')"
    )
    assert reader.notice == ""
    assert len(short_room.rows()) == 1


def test_an_unsaved_answer_survives_a_reload(short_room, context):
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    context.route("**/answer", lambda route: route.abort())
    reader.tab.click('[data-answer="generated"]')
    reader.tab.wait_for_function("() => document.getElementById('notice').innerText !== ''")
    context.unroute("**/answer")
    short_room_rows = len(short_room.rows())
    reader.tab.reload()
    reader.comes_back()
    assert short_room_rows <= 1 and [row["answer"] for row in short_room.rows()] == ["generated"]


def test_a_wrong_link_shows_nothing(short_room, context):
    tab = context.new_page()
    reply = tab.goto(f"http://127.0.0.1:{short_room.port}/r/{'x' * 43}")
    assert reply.status == 404
    assert tab.locator("video").count() == 0 and "not found" in tab.inner_text("body")


def test_pause_and_replay(short_room, context):
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    playing = "!document.querySelector('video').paused"
    assert reader.tab.evaluate(playing)
    reader.tab.keyboard.press(" ")
    assert not reader.tab.evaluate(playing) and "Play" in reader.tab.inner_text("#pause")
    reader.tab.keyboard.press("Home")
    assert reader.tab.evaluate(playing)
    reader.tab.click("#pause")
    reader.tab.keyboard.press(" ")
    assert reader.tab.evaluate(playing), "space on a focused button is one press"
    reader.answer()
    (row,) = short_room.rows()
    assert row["detail"]["pauses"] == 2


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (768, 1024)])
def test_everything_fits_on_the_screen(short_room, browser, size):
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=True)
    reader = Reader(context, short_room.link("reader-1"))
    reader.begin()
    for selector in ("video", '[data-answer="real"]', '[data-answer="generated"]', "#pause"):
        box = reader.tab.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
    video = reader.tab.locator("video").bounding_box()
    assert video["width"] == pytest.approx(video["height"], abs=1)
    assert video["width"] >= 0.55 * min(width, height)
    assert reader.tab.evaluate("document.documentElement.scrollHeight <= innerHeight")
    context.close()


def test_the_page_never_says_whether_an_answer_was_right(short_room, context):
    reader = Reader(context, short_room.link("reader-1"))
    replies = []
    reader.tab.on("response", lambda reply: replies.append(reply))
    reader.begin()
    reader.answer()
    bodies = [reply.json() for reply in replies if reply.url.endswith("/answer")]
    assert {key for body in bodies for key in body} == {
        "saved", "first", "position", "total", "practice", "trial"
    }  # fmt: skip
    assert not re.search(r"correct|score|right|wrong", reader.tab.inner_text("body"), re.I)


@pytest.fixture
def asking_room(running_room, study_run, tmp_path):
    """Pairs, with confidence and "cannot judge"."""
    from echocascade.studies.expert.clips import RunClips
    from echocascade.studies.expert.create import create_study
    from echocascade.studies.expert.folder import load_study

    changes = ["mode=pairs", "trials=2", "practice=0", "confidence=true", "cannot_judge=true"]
    source = RunClips.load(*study_run, [f"study.{change}" for change in changes])
    create_study(source, ["a"], tmp_path / "pairs")
    running = running_room(load_study(tmp_path / "pairs"))
    running.start()
    yield running
    running.kill()


def test_pairs_with_confidence_and_cannot_judge(asking_room, context):
    reader = Reader(context, asking_room.link("a"))
    reader.begin()
    assert reader.tab.locator("video").count() == 2
    reader.tab.keyboard.press("ArrowRight")
    assert asking_room.rows() == [], "an answer waits for its confidence"
    reader.tab.keyboard.press("4")
    reader.tab.wait_for_function(
        "() => document.getElementById('place').innerText.startsWith('2 of')"
    )
    reader.tab.wait_for_selector(OPEN)
    reader.tab.keyboard.press("c")
    reader.tab.wait_for_selector("#end:not([hidden])")
    rows = [(row["answer"], row["confidence"]) for row in asking_room.rows()]
    assert rows == [("right", 4), ("cannot judge", None)]
    assert reader.errors == []


class FileReader(Reader):
    """The same page as one file, on a PC without a network."""

    def download(self, folder) -> object:
        with self.tab.expect_download() as waiting:
            self.tab.click("#export")
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path


@pytest.fixture
def file_study(short_study_folder, tmp_path):
    import shutil

    from echocascade.studies.expert.folder import load_study

    return load_study(shutil.copytree(short_study_folder, tmp_path / "filed"))


@pytest.fixture
def offline(browser):
    made = browser.new_context(offline=True, accept_downloads=True)
    yield made
    made.close()


def merge(path, study):
    store = AnswerStore(study.answers_file)
    try:
        return import_file(path, study, load_links(study.directory), store), store.rows()
    finally:
        store.close()


def test_the_file_is_read_without_a_network_and_comes_back_signed(file_study, offline, tmp_path):
    page = file_study.directory / "files" / "reader-2.html"
    reader = FileReader(offline, page.as_uri())
    reader.begin()
    reader.answer("generated")
    reader.answer("real")
    part = reader.download(tmp_path)
    reader.tab.reload()
    assert "2 of 6" in reader.comes_back()
    other = FileReader(offline, page.as_uri())
    reader.begin()
    other.begin()
    reader.answer("real")
    other.answer("generated")
    assert "the first answer counts" in other.notice
    whole = other.download(tmp_path)
    assert part.name == "answers-reader-2-2.json" and whole.name == "answers-reader-2-3.json"

    done, rows = merge(part, file_study)
    assert (done.reader, done.new, done.known, done.second) == ("reader-2", 2, 0, 0)
    done, rows = merge(whole, file_study)
    assert (done.new, done.known, done.second) == (1, 2, 0)
    assert merge(whole, file_study)[0].known == 3
    assert [row["answer"] for row in rows] == ["generated", "real", "real"]
    assert {row["source"] for row in rows} == {"file"}
    assert {row["reader"] for row in rows} == {"reader-2"}
    assert reader.errors == [] and other.errors == []
    asked = [url for url in reader.requests if not url.startswith(("file:", "blob:", "data:"))]
    assert asked == []


def test_the_files_policy_lets_nothing_out(file_study, offline):
    page = file_study.directory / "files" / "reader-1.html"
    reader = FileReader(offline, page.as_uri())
    outcome = reader.tab.evaluate(
        "fetch('https://example.org/').then(() => 'sent', () => 'refused')"
    )
    assert outcome == "refused"
    assert any("Content Security Policy" in error for error in reader.errors)


def test_a_file_says_nothing_of_the_truth(file_study):
    text = (file_study.directory / "files" / "reader-1.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert set(data) == {"study", "digest", "signing_key", "reader", "trials"}
    assert {frozenset(trial) for trial in data["trials"]} == {
        frozenset({"id", "practice", "clips"})
    }
    lengths = {len(clip) for trial in data["trials"] for clip in trial["clips"]}
    assert len(lengths) == 1
    key = load_key(file_study.directory)
    assert not any(name in text for name in key.clips["FileName"])
    assert not any(name in text for name in key.clips["file"])
    assert load_links(file_study.directory)["reader-1"].token not in text


def test_a_browser_that_keeps_nothing_says_so(file_study, offline):
    offline.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('off'); }});"
    )
    reader = FileReader(offline, (file_study.directory / "files" / "reader-1.html").as_uri())
    reader.begin()
    reader.answer()
    reader.tab.wait_for_function(
        "() => document.getElementById('notice').innerText.includes('keeps nothing')"
    )


def test_the_pages_own_signature_is_pythons(file_study, offline):
    """HMAC-SHA-256 of texts of every length around the block size, and beyond ASCII."""
    reader = FileReader(offline, (file_study.directory / "files" / "reader-1.html").as_uri())
    link = load_links(file_study.directory)["reader-1"]
    texts = ["x" * n for n in (0, 1, 55, 56, 63, 64, 65, 119, 1000)] + ["äöü ♥"]
    found = reader.tab.evaluate(
        "([key, texts]) => texts.map((text) => hmacSha256Hex(key, text))",
        [link.signing_key, texts],
    )
    assert found == [sign(text, link) for text in texts]
