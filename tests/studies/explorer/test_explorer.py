"""The explorer's server: an image in, previews while it works, marked clips out, nothing kept."""

import io
import json
import tempfile

import numpy as np
import pytest
from PIL import Image

from drawn import SECRET, fan, screen
from echocascade.data.marked import SYNTHETIC, read_mark
from echocascade.studies.explorer.session import PREVIEW_FRAMES, Gone, Kept

NOISE = {"seed": 0}


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def picture(explorer) -> str:
    return explorer.said("/image", png(fan(128)[0]))["picture"]


def make(explorer, picture, *lvefs: float, seed: int = 0, seconds: float | None = None):
    """The job's reply and its events."""
    asks = [{"lvef_percent": lvef, "seed": seed} for lvef in lvefs]
    begun = explorer.said("/make", {"picture": picture, "asks": asks, "seconds": seconds})
    return begun, explorer.events(begun["job"])


def test_without_the_link_there_is_nothing(explorer):
    for path in ("", "/run", "/clip/x/clip.mp4", "/job/x"):
        assert explorer.ask(path, token="wrong")[0] == 404
    assert explorer.ask("/make", {"asks": []}, token="wrong")[0] == 404


def test_the_page_runs_its_own_blocks_and_reaches_its_server_alone(explorer):
    status, headers, content = explorer.ask("")
    policy = headers["content-security-policy"]
    assert status == 200 and b"/*SCRIPT*/" not in content
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "unsafe" not in policy and b"http://" not in content.replace(b"http://www.w3.org", b"")
    assert b"https://" not in content


def test_the_run_is_described(explorer):
    run = explorer.said("/run")
    assert run["run"] == "tiny" and run["phantom"] is True and run["reads"] is True
    assert (run["fps"], run["pixels"], run["seconds"]) == (4, 16, 2.0)
    assert [p["row"] for p in run["patients"]] == list(range(len(run["patients"])))
    assert "ring" not in json.dumps(run), "names of clips stay in the data set"


def test_a_clip_is_previewed_and_then_read(explorer, picture):
    begun, events = make(explorer, picture, 30, 60)
    kinds = [kind for kind, _ in events]
    assert begun["making"] == 2
    assert kinds[-1] == "clips" and set(kinds[:-1]) == {"preview"}
    preview = events[0][1]
    assert preview["rows"] == [0, 1] and preview["frames"] <= PREVIEW_FRAMES
    assert preview["sheet"].startswith("data:image/png;base64,")
    shares = [content["share"] for kind, content in events if kind == "preview"]
    assert shares == sorted(shares)
    clips = events[-1][1]["clips"]
    assert [c["lvef_percent"] for c in clips] == [30, 60]
    assert all(len(c["area"]) == 8 and c["regressor"] is not None for c in clips)


def test_what_was_made_is_not_made_again(explorer, picture):
    make(explorer, picture, 25)
    begun, events = make(explorer, picture, 25, 75)
    assert begun["making"] == 1
    previews = [content for kind, content in events if kind == "preview"]
    assert all(content["rows"] == [1] for content in previews)
    again, events = make(explorer, picture, 25, 75)
    assert again["making"] == 0 and [kind for kind, _ in events] == ["clips"]


def test_longer_clips_have_longer_curves(explorer, picture):
    _, events = make(explorer, picture, 40, seconds=6)
    (clip,) = events[-1][1]["clips"]
    assert clip["frames"] == 24 and len(clip["area"]) == 24


@pytest.mark.parametrize("suffix", ["mp4", "gif", "webp", "avi", "npz"])
def test_downloads_are_marked(explorer, picture, tmp_path, suffix):
    _, events = make(explorer, picture, 33)
    (clip,) = events[-1][1]["clips"]
    status, _, content = explorer.ask(f"/clip/{clip['clip']}/clip.{suffix}")
    (tmp_path / f"clip.{suffix}").write_bytes(content)
    assert status == 200
    said = read_mark(tmp_path / f"clip.{suffix}")
    assert SYNTHETIC in said and "LVEF asked 33 %, seed 0, run tiny" in said


def test_players_get_the_part_they_ask_for(explorer, picture):
    _, events = make(explorer, picture, 33)
    path = f"/clip/{events[-1][1]['clips'][0]['clip']}/clip.mp4"
    whole = explorer.ask(path)[2]
    status, headers, part = explorer.ask(path, Range="bytes=10-19")
    assert (status, part) == (206, whole[10:20])
    assert headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert explorer.ask(path, Range=f"bytes={len(whole)}-")[0] == 416


def test_a_patient_can_be_picked(explorer):
    found = explorer.said("/patient", {"row": 0})
    assert found["said"]["kind"] == "patient" and 10 < found["said"]["lvef_percent"] < 90
    _, events = make(explorer, found["picture"], 50)
    assert events[-1][0] == "clips"
    assert explorer.ask("/patient", {"row": 999})[0] == 410


def test_another_frame_of_an_uploaded_clip(explorer, tmp_path):
    from echocascade.data.video import write_avi

    write_avi(tmp_path / "clip.avi", fan(128, n_frames=6), 16)
    first = explorer.said("/image", (tmp_path / "clip.avi").read_bytes())
    assert (first["said"]["frames"], first["said"]["at"]) == (6, 0)
    second = explorer.said("/frame", {"picture": first["picture"], "frame": 4})
    assert second["said"]["at"] == 4 and second["image"] != first["image"]
    status, _, content = explorer.ask("/frame", {"picture": first["picture"], "frame": 6})
    assert status == 400 and b"frame 6 was asked for; it has 6" in content


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/image", b"hello", 400, b"no known format; accepted: PNG"),
        ("/image", png(np.zeros((200, 200, 3), np.uint8)), 400, b"no cardiac ultrasound sector"),
        ("/make", {"picture": "gone", "asks": [{"lvef_percent": 50}]}, 410, b"load the image"),
        ("/make", {"picture": "x", "asks": []}, 400, b"asks is a list of 1 to 6"),
        ("/make", {"picture": "x", "asks": [{"lvef_percent": "a"}]}, 400, b"is a number"),
        ("/make", {"picture": "x", "asks": [{"lvef_percent": 50, "seed": -1}]}, 400, b"whole"),
        ("/make", [1], 400, b"one JSON object"),
        ("/frame", {"picture": "gone", "frame": 1}, 410, b"load the image"),
    ],
)
def test_bad_requests_are_one_clear_line(explorer, path, body, status, word):
    found, _, content = explorer.ask(path, body)
    assert found == status and word in content and len(json.loads(content)["error"]) < 300


def test_an_lvef_out_of_range_says_what_is_accepted(explorer, picture):
    body = {"picture": picture, "asks": [{"lvef_percent": 120}]}
    status, _, content = explorer.ask("/make", body)
    assert status == 400 and b"LVEF 120 %: 5 to 95 % are accepted" in content


def test_nothing_of_an_upload_stays_on_disk_or_is_told(explorer, tmp_path, monkeypatch):
    """A screen with a name: no file is left, and no answer has more than geometry and a digest."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, _, content = explorer.ask("/image", png(screen(fan(400)[0])))
    assert status == 200 and SECRET.encode() not in content and b"/tmp" not in content
    assert list(tmp_path.iterdir()) == []
    assert set(json.loads(content)["said"]) == {
        "frames", "at", "kind", "sha256", "pixels", "frame", "sector"
    }  # fmt: skip


def test_newer_work_stops_older(explorer, picture):
    asks = [{"lvef_percent": 41, "seed": 900}]
    begun = explorer.said("/make", {"picture": picture, "asks": asks, "seconds": 20})
    explorer.said(f"/job/{begun['job']}/stop", {})
    events = explorer.events(begun["job"])
    assert events[-1] == ("failed", {"error": "stopped"})


def test_only_so_much_is_kept():
    kept: Kept[int] = Kept(2)
    first, second = kept.add(1), kept.add(2)
    assert kept.get(first) == 1  # used last, so the other goes first
    kept.add(3)
    assert len(kept) == 2 and kept.find(second) is None
    with pytest.raises(Gone):
        kept.get(second)
