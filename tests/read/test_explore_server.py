"""What the server behind the page answers, and what it refuses."""

from __future__ import annotations

import io
import os
import re
import signal
import struct
import subprocess
import sys
import urllib.request
import zlib

import pytest
from PIL import Image
from support.explored import HOSTILE, ROWS, embedded, explored, filtered, picture

from dfndr.errors import UsageError
from dfndr.explore import server
from dfndr.explore.queries import Explorer

testclient = pytest.importorskip("fastapi.testclient", reason="the page needs FastAPI")

ASKED = {"space": "image/enc"}


def client_of(explorer):
    return testclient.TestClient(server.create_app(explorer), base_url="http://127.0.0.1:8600")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return client_of(Explorer(explored(tmp_path_factory.mktemp("explored"))))


@pytest.fixture(scope="module")
def uids(client):
    return [
        one["uid"] for one in client.get("/api/browse", params={"order": "stored", "count": ROWS}).json()["samples"]
    ]


@pytest.mark.parametrize("host", ["127.0.0.1:8600", "localhost:8600", "localhost", "127.0.0.1:9000"])
def test_a_host_that_names_this_machine_is_answered(client, host):
    assert client.get("/api/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8600",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "",
        "127.0.0.1:x",
        "[::1",
        "10.0.0.1",
    ],
)
def test_any_other_host_is_refused_even_for_the_page_itself(client, host):
    for path in ("/", "/api/about", "/page/app.js", "/nothing"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, "explored" in answer.text) == (403, False)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8600", "http://127.0.0.1:9999", ""]
)
def test_a_request_that_another_site_caused_is_refused(client, origin):
    for method in ("GET", "POST"):
        assert client.request(method, "/api/near", params=ASKED, headers={"origin": origin}).status_code == 403
    assert client.get("/api/about", headers={"origin": "http://127.0.0.1:8600"}).status_code == 200


def test_another_site_may_link_to_the_page_and_load_nothing_of_it(client, uids):
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site}
        assert client.get("/", headers=headers).status_code == 200
        for path in ("/api/about", f"/thumbnail/{uids[6]}", "/page/app.js"):
            assert client.get(path, headers=headers).status_code == 403
    assert client.get("/api/about", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/about", "/page/app.js", "/api/near", "/nothing"])
def test_every_answer_forbids_other_scripts_frames_and_guessed_types(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    ["/page/../server.py", "/page/%2e%2e/server.py", "/page/..%2fserver.py", "/page//etc/passwd", "/manifest.json",
     "/page/style.css/../../guard.py", "/thumbnail/..%2f..%2fmanifest.json", "/docs", "/page/index.html"],
)  # fmt: skip
def test_no_path_leads_to_a_file_that_is_not_the_pages_own(client, path):
    assert client.get(path).status_code in (400, 404)


def test_the_page_asks_for_nothing_from_elsewhere_and_holds_no_inline_script(client):
    page = client.get("/").text
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page)
    assert [inside for _, inside in scripts] == [""] and 'src="/page/app.js"' in scripts[0][0]
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", page)
    names = ["app", "api", "dom", "grid", "flags", "filters", "scores", "sample"]
    for name in (*(f"/page/{name}.js" for name in names), "/page/style.css", "/page/icon.svg"):
        answer = client.get(name)
        assert answer.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", answer.text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", answer.text)


def test_what_a_stranger_wrote_is_sent_as_json_and_a_thumbnail_only_as_a_picture(client, uids):
    answer = client.get(f"/api/sample/{uids[0]}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["fields"]["text"] == HOSTILE
    good = client.get(f"/thumbnail/{uids[6]}")
    assert (good.content, good.headers["content-type"]) == (picture(6), "image/png")
    assert client.get(f"/thumbnail/{uids[4]}").headers["content-type"] == "application/json", (
        "an SVG is no picture here"
    )


def test_an_error_says_where_expected_found_and_what_to_do(client):
    answer = client.get("/api/near", params={"space": "image/other", "words": "x"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"where", "expected", "found", "do", "kind"}
    assert client.get("/api/browse", params={"filter": "{"}).status_code == 400
    for wrong in ({"count": 0}, {"count": 100_000}, {"start": -1}, {"filter": "x" * 5000}):
        assert client.get("/api/browse", params=wrong).status_code == 422


def test_filters_and_pages_are_asked_for_in_the_address(client, uids):
    wanted = {"filter": filtered(choices={"source": ["odd"]}), "order": "stored", "start": 2, "count": 2}
    found = client.get("/api/browse", params=wanted).json()
    assert (found["matched"], [one["uid"] for one in found["samples"]]) == (44, [uids[7], uids[9]])
    near = client.get("/api/near", params={**ASKED, "uid": uids[0], "count": 5}).json()["samples"]
    again = client.get("/api/near", params={**ASKED, "uid": uids[0], "start": 3, "count": 2}).json()["samples"]
    assert near[3:] == again
    around = client.get("/api/around", params={"column": "score", "at": 0.5, "count": 1}).json()
    assert around["below"]["rows"] + around["above"]["rows"] == ROWS
    assert client.get("/api/around", params={"column": "score", "at": "nan"}).status_code in (200, 422)
    assert sum(client.get("/api/histogram", params={"column": "score"}).json()["counts"]) == ROWS


def _bomb() -> bytes:
    """Return a PNG of a few bytes whose header claims 20000 x 20000 pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0" * 50


def test_an_upload_that_is_no_picture_too_large_or_a_bomb_is_refused_before_it_is_decoded(client, monkeypatch):
    for body in (b"", b"<svg/>", b"%PDF-1.7", _bomb(), picture(1, "TIFF")):
        answer = client.post("/api/near", params=ASKED, content=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["where"] == "the dropped file"
    monkeypatch.setattr(server, "MAX_UPLOAD_BYTES", 1 << 20)

    def endless():
        for _ in range(64):
            yield b"\0" * (1 << 18)

    assert "at most 1 MiB" in client.post("/api/near", params=ASKED, content=endless()).text
    monkeypatch.setattr(server, "MAX_UPLOAD_PIXELS", 100)
    assert client.post("/api/near", params=ASKED, content=picture(1)).status_code == 422


def test_words_and_a_picture_find_what_the_encoder_says(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("open_clip")
    dataset, pictures, encoder = embedded(tmp_path)
    space, vectors = dataset.space("image/tiny"), dataset.vectors("image/tiny")[:, 0].astype("float32")
    client = client_of(Explorer(dataset, device="cpu"))
    uids = dataset.rows(["uid"])["uid"].to_pylist()

    found = client.post("/api/near", params={"space": space.name}, content=pictures[4]).json()["samples"]
    assert (found[0]["uid"], round(found[0]["value"], 3)) == (uids[4], 1)
    words = encoder.encode_texts(["a red dog"]).vectors[0]
    expected = torch.from_numpy(vectors) @ torch.from_numpy(words)
    found = client.get("/api/near", params={"space": space.name, "words": "a red dog"}).json()["samples"]
    assert [one["uid"] for one in found] == [uids[row] for row in expected.argsort(descending=True)]
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "BMP")
    assert client.post("/api/near", params={"space": space.name}, content=file.getvalue()).status_code == 200


def test_a_port_that_is_taken_is_a_usage_error_and_the_address_is_loopback():
    opened = server.listen(0)
    try:
        address, port = opened.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(UsageError, match="free port"):
            server.listen(port)
    finally:
        opened.close()


def test_the_verb_answers_on_loopback_until_it_is_interrupted(tmp_path):
    explored(tmp_path)
    code = "from dfndr.cli import main; main()"
    command = [sys.executable, "-c", code, "explore", str(tmp_path), "--port", "0", "--no-open"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert line.startswith("explored is at") and url is not None
            with urllib.request.urlopen(f"{url[0]}api/about", timeout=60) as answer:
                assert b'"rows":90' in answer.read()
        finally:
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (0, "", "")
