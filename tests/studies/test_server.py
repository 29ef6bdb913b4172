"""The kit that small servers stand on: limits, headers, tokens, and nothing told."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
import uvicorn
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from echocascade.studies.server import (
    ServerError,
    Tokens,
    hosts_for,
    new_token,
    page_policy,
    read_json,
    secured,
    serve,
)
from echocascade.studies.shield import TRACKED_CLIENTS, Limits, RateLimit

LIMITS = Limits(body_bytes=2000, body_seconds=0.5, requests_per_minute=100_000)


async def echo(request):
    return JSONResponse(await read_json(request, LIMITS))


async def broken(request):
    raise RuntimeError("secret detail of the machine")


async def a_file(request):
    return FileResponse(__file__)


@pytest.fixture(scope="module")
def port():
    """A running server with three routes."""
    routes = [
        Route("/echo", echo, methods=["POST"]), Route("/broken", broken), Route("/file", a_file)
    ]  # fmt: skip
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(secured(routes, limits=LIMITS), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listening.close()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, names)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


def post(port: int, body: bytes):
    return ask(port, "POST", "/echo", body, content_type="application/json")


@pytest.mark.parametrize("path", ["/echo", "/broken", "/file", "/nothing", "/"])
def test_every_answer_carries_the_headers_that_keep_a_page_shut(port, path):
    reply, _ = ask(port, "GET", path)
    assert reply.getheader("Cache-Control") == "no-store"
    assert reply.getheader("X-Content-Type-Options") == "nosniff"
    assert reply.getheader("Referrer-Policy") == "no-referrer"
    assert "default-src 'none'" in reply.getheader("Content-Security-Policy")
    assert reply.getheader("X-Frame-Options") == "DENY"
    assert reply.getheader("ETag") is None and reply.getheader("Last-Modified") is None


@pytest.mark.parametrize(
    "path",
    ["/", "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/file/", "/file/..", "//file",
     "/file%00", "/echo?x=../..", "/static/", "/clips"],
)  # fmt: skip
def test_only_what_a_route_names_is_there(port, path):
    reply, content = ask(port, "GET", path)
    assert reply.status in (404, 405)
    assert b"root:" not in content and b"<" not in content and "error" in json.loads(content)


def test_a_failure_tells_nothing_of_the_machine(port):
    reply, content = ask(port, "GET", "/broken")
    assert reply.status == 500
    assert b"secret" not in content and b"Traceback" not in content and b"/" not in content


def test_json_comes_back_as_it_was(port):
    reply, content = post(port, b'{"a": [1, "\xc3\xa4"]}')
    assert reply.status == 200 and json.loads(content) == {"a": [1, "ä"]}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'"x"', b"null", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe",
     b'{"a": ' + b"[" * 1500, b"\x00" * 100],
)  # fmt: skip
def test_what_is_no_json_object_is_400(port, body):
    reply, content = post(port, body)
    assert reply.status == 400 and "error" in json.loads(content)


def test_a_long_body_is_413_whatever_its_header_says(port):
    assert post(port, b'{"a": "' + b"x" * 3000 + b'"}')[0].status == 413
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(5):
            raw.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        raw.sendall(b"0\r\n\r\n")
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"99999999999999999999"])
def test_a_length_that_is_none_is_refused(port, length):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length)
        raw.sendall(b"\r\nContent-Type: application/json\r\n\r\n{}")
        assert raw.recv(4096).split(b" ")[1] in (b"400", b"413")


def test_a_body_that_does_not_come_is_given_up(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert b" 408 " in raw.recv(4096).split(b"\r\n")[0]


def test_a_form_of_another_site_is_not_read(port):
    reply, _ = ask(port, "POST", "/echo", b"{}", content_type="text/plain")
    assert reply.status == 415


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 404), ("127.0.0.1:80", 404), ("[::1]:80", 404), ("evil.example", 400),
        ("", 400),
    ],
)  # fmt: skip
def test_another_name_for_this_machine_is_refused(port, host, status):
    assert ask(port, "GET", "/", host=host)[0].status == status


def test_a_client_that_asks_too_often_waits():
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    assert [limit.allows("a") for _ in range(61)] == [True] * 60 + [False]
    assert limit.allows("b")
    now[0] = 2.0
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]


def test_clients_are_not_remembered_without_end():
    limit = RateLimit(60)
    for client in range(TRACKED_CLIENTS + 100):
        limit.allows(str(client))
    assert len(limit) == TRACKED_CLIENTS


def test_a_token_lets_in_its_owner_and_nobody_else():
    tokens = {name: new_token() for name in ("a", "b")}
    known = Tokens.of(tokens)
    assert {known.owner(token) for token in tokens.values()} == {"a", "b"}
    strange = ["", "a", tokens["a"][:-1], tokens["a"] + "x", new_token(), "\udcff", "x" * 10**6]
    assert {known.owner(token) for token in strange} == {None}
    assert not any(token in str(known) for token in tokens.values())
    assert len({new_token() for _ in range(1000)}) == 1000


def test_a_page_may_run_its_own_blocks_and_nothing_else():
    page = "<style>a{}</style><script>let x = 1;</script><script type='x'>data</script>"
    policy = page_policy(page, {"connect-src": "'self'"})
    assert policy.count("sha256-") == 2 and "unsafe" not in policy
    assert policy.startswith("default-src 'none'") and "connect-src 'self'" in policy
    assert page_policy(page.replace("x = 1", "x = 2")) != page_policy(page)


def test_only_this_machine_is_answered_unless_a_network_is_asked_for():
    assert "evil.example" not in hosts_for("127.0.0.1") and "localhost" in hosts_for("::1")
    assert hosts_for("0.0.0.0") == ("*",)


def test_a_port_that_is_taken_is_said_in_one_line():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServerError, match=r"cannot listen on 127\.0\.0\.1 port"),
    ):
        serve(secured([]), port=taken.getsockname()[1])
    with pytest.raises(ServerError, match=r"cannot listen on 192\.0\.2\.1"):
        serve(secured([]), host="192.0.2.1", port=0)


def test_it_listens_on_this_machine_alone():
    code = (
        "from echocascade.studies.server import secured, serve;"
        "serve(secured([]), port=0, ready=lambda address: print(address, flush=True))"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1])
        assert ask(port, "GET", "/")[0].status == 404
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((own, port), timeout=2)
    finally:
        server.terminate()
        started = time.monotonic()
        server.wait(20)
        assert time.monotonic() - started < 15
