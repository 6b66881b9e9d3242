"""A page of another site cannot use the servers of this machine, not even under a name that it makes mean 127.0.0.1."""

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.deploy.processes import Guarded, free_port, wait_for_port
from local.google import hosts
from local.google.hosts import foreign
from tests.local.conftest import LocalStorage


def answer(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    port = urlsplit(url).port
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {name.capitalize(): value.replace("PORT", str(port)) for name, value in headers.items()}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "LocalHost:PORT", "[::1]:PORT"])
def test_a_request_that_names_this_machine_is_answered(local_storage: LocalStorage, host: str) -> None:
    assert answer(local_storage.url, "/storage/v1/b", host=host)[0] == 200
    assert answer(local_storage.url, "/storage/v1/b", host=host, origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:PORT", "evil.example", "localhost", "localhost:1", "127.0.0.1.evil.example:PORT", "0.0.0.0:PORT",
        "localhost.:PORT", "localhost@evil.example:PORT", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/storage/v1/b", "/as/review@factory.iam.gserviceaccount.com/storage/v1/b", "/nowhere"]
)
def test_a_foreign_host_is_refused(local_storage: LocalStorage, host: str, path: str) -> None:
    status, body = answer(local_storage.url, path, host=host)
    assert status == 403
    assert b"Host is " in body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:PORT", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(local_storage: LocalStorage, origin: str) -> None:
    status, body = answer(local_storage.url, "/storage/v1/b", host="127.0.0.1:PORT", origin=origin)
    assert status == 403
    assert b"Origin is " in body


def test_more_than_one_host_is_none() -> None:
    assert foreign(["localhost:8080"], [], port=8080) is None
    assert foreign(["localhost:8080"] * 2, [], port=8080)
    assert foreign([], [], port=8080)
    assert foreign(["localhost"], ["http://localhost"], port=80) is None


def test_a_function_s_own_server_refuses_them_too(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def hello(request):\n    return 'hello'\n")
    port = free_port()
    command = [sys.executable, "-P", hosts.__file__, "--target=hello", "--source=main.py", "--host=127.0.0.1"]
    env = {"PATH": "/usr/bin:/bin", "PORT": str(port)}
    function = Guarded(command, log=tmp_path / "log", env=env, cwd=tmp_path)
    try:
        wait_for_port(port, function, name="hello")
        url = f"http://127.0.0.1:{port}"
        assert answer(url, "/", host="localhost:PORT") == (200, b"hello")
        for headers in ({"host": "evil.example:PORT"}, {"host": "localhost:PORT", "origin": "http://evil.example"}):
            status, body = answer(url, "/", **headers)
            assert (status, json.loads(body)["error"]["code"]) == (403, 403)
    finally:
        function.stop()
