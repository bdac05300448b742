"""The page as a person uses it, in a headless browser; the verb's refusals."""

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from latentcot.checkpoint import load
from latentcot.cli import main
from latentcot.core import Example
from latentcot.data import prosqa, records
from latentcot.generate import answer
from latentcot.methods import CoT
from latentcot.tokens import final_answer
from tests.unit.test_asking import PROSQA, checkpoint

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60_000
"""Milliseconds for which a machine may be busy with something else."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {"coconut": checkpoint(PROSQA), "cot": checkpoint(PROSQA, CoT())}
    for name, one in made.items():
        one.save(folder / name)
    return {name: folder / name for name in made}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def address(models: dict[str, Path]) -> Iterator[str]:
    """Where the page of two checkpoints is served."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    words = ["ui", str(models["coconut"]), "--compare", str(models["cot"]), "--port", str(free_port())]
    with subprocess.Popen(
        [sys.executable, "-m", "latentcot", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            assert line.startswith("http://127.0.0.1:"), line
            yield line.split()[0].split("/")[2]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """The page, open in a browser; `asked` collects the hosts that it makes requests to."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on the path")
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        chromium = stack.enter_context(sync_playwright()).chromium
        browser = chromium.launch(executable_path=BROWSER, args=FLAGS)
        stack.callback(browser.close)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.asked = set()
        page.on("request", lambda request: page.asked.add(request.url.split("/")[2]))
        page.goto(f"http://{address}/")
        page.address = address
        yield page


def shown(page: Any) -> list[tuple[str, str, str]]:
    """Row, written text and cost of each answer; a text that is all answer is not repeated below it."""
    found = []
    for section in page.locator(".answers section").all():
        row, cost = (section.locator(part).inner_text() for part in ("b", ".cost"))
        text = section.locator("pre" if section.locator("pre").count() else ".final").text_content()
        found.append((row, text, cost))
    return found


def expected(models: dict[str, Path], question: str, thoughts: int) -> list[tuple[str, str, int]]:
    """Row, text and tokens by the package itself."""
    found = []
    for row, number in (("coconut", thoughts), ("cot", 0)):
        (one,) = answer(load(models[row]), [question], thoughts=number)
        found.append((row, one.text, one.tokens))
    return found


def check(page: Any, models: dict[str, Path], question: str, thoughts: int) -> None:
    """The page shows the package's own answers to the question, and pictures with that many thoughts."""
    page.locator(".answers").wait_for()
    wanted = expected(models, question, thoughts)
    for (row, text, cost), (right_row, right_text, tokens) in zip(shown(page), wanted, strict=True):
        assert (row, text) == (right_row, right_text)
        assert cost.startswith(f"{tokens} tokens")
        assert cost.endswith(" ms")
    for name in ("race", "tree"):
        box = page.locator(f"#{name} .figure svg").bounding_box()
        assert min(box["width"], box["height"]) > 100
    assert page.locator("[role=alert]").count() == 0


def clear(page: Any) -> None:
    """Ask nothing, so that what is shown next is new."""
    page.fill("#question textarea", " ")
    page.click("#ask")
    page.locator("[role=alert]", has_text="the question is empty: write one").wait_for()
    assert page.locator(".answers, .figure").count() == 0


def test_a_typed_question_at_two_places_of_the_slider(page: Any, models: dict[str, Path]) -> None:
    example = PROSQA[0]
    page.fill("#question textarea", example.question)
    page.click("#ask")
    check(page, models, example.question, 2)
    right = {True: "✓ right", False: "✗ wrong"}
    for verdict, (_, text, _) in zip(page.locator(".final + span").all(), shown(page), strict=True):
        assert verdict.inner_text() == right[final_answer(text) == final_answer(example.answer)]
    clear(page)
    page.fill("#question textarea", example.question)
    page.locator("#thoughts input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.click("#ask")
    page.locator("#race", has_text="After so many thoughts").wait_for()
    check(page, models, example.question, 3)
    page.locator("#thoughts input[type=range]").focus()
    page.keyboard.press("ArrowLeft")


def test_a_random_question(page: Any, models: dict[str, Path]) -> None:
    clear(page)
    page.click("#random")
    page.locator(".answers").wait_for()
    question = page.input_value("#question textarea")
    assert prosqa.from_text(question) is not None
    check(page, models, question, 2)


def test_what_is_wrong_is_said_beside_the_box(page: Any) -> None:
    clear(page)
    page.fill("#question textarea", "Is Zog <b>real</b>?")
    page.click("#ask")
    message = page.locator("[role=alert]", has_text="not in the model's vocabulary")
    message.wait_for()
    assert "<b>real</b>?" in message.inner_text()
    for number in ("999", "-1", "1.5"):
        page.fill("#thoughts input[type=number]", number)
        page.click("#ask")
        page.locator("[role=alert]", has_text=f"the number of thoughts is {number}: give a whole one").wait_for()
    page.fill("#thoughts input[type=number]", "2")
    page.fill("#question textarea", " ".join([PROSQA[0].question] * 6))
    page.click("#ask")
    page.locator("[role=alert]", has_text="positions").wait_for()
    page.fill("#question textarea", "w" * 10_001)
    page.click("#ask")
    page.locator("[role=alert]", has_text="the question has 10,001 characters: give 10,000 at most").wait_for()
    assert page.locator(".toast-body").count() == 0


def test_nothing_but_this_machine_is_asked(page: Any) -> None:
    assert page.asked == {page.address}


def request(address: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """Status and text of the answer to one request; the headers' names have _ for -."""
    with closing(HTTPConnection(address, timeout=120)) as connection:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, names)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


UPLOAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="f.txt"\r\n\r\nabc\r\n--x--\r\n'
FORM = {"Content_Type": "multipart/form-data; boundary=x"}


def test_other_web_sites_and_uploads_are_refused(address: str) -> None:
    assert request(address, "GET", "/")[0] == 200
    assert request(address, "GET", "/config", Origin=f"http://{address}")[0] == 200
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": f"http://{address}"}):
        status, text = request(address, "POST", "/gradio_api/upload", UPLOAD, **FORM, **headers)
        assert status == 403
        assert "abc" not in text
    join = b'{"data": ["Is Tom a lempus or rempus?", 2], "fn_index": 0, "session_hash": "s"}'
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        status, text = request(
            address, "POST", "/gradio_api/queue/join", join, Origin=origin, Content_Type="text/plain"
        )
        assert (status, text) == (403, "requests from other web sites are refused: open the page itself\n")
    own = {"Origin": f"http://{address}", "Content_Type": "application/json"}
    assert request(address, "POST", "/gradio_api/queue/join", join, **own)[0] == 200


def test_other_names_of_this_machine_are_refused(address: str) -> None:
    """DNS rebinding: the name of another site is pointed at this machine."""
    port = address.split(":")[1]
    status, text = request(address, "GET", "/", Host=f"evil.example:{port}")
    assert (status, text.startswith("this page answers under localhost or 127.0.0.1 only")) == (403, True)
    assert request(address, "GET", "/", Host=f"localhost:{port}")[0] == 200


def test_a_request_that_is_too_large_is_refused(address: str) -> None:
    own = {"Origin": f"http://{address}", "Content_Type": "application/json"}
    assert request(address, "POST", "/gradio_api/queue/join", bytes(1_000_001), **own)[0] == 413


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["ui", *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_without_gradio(
    models: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install 'latentcot[ui]'" in refused(capsys, models["coconut"])


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed")
def test_refusals(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} (Address already in use)" in refused(capsys, models["coconut"], f"--port={port}")
    assert "--port is 70000" in refused(capsys, models["coconut"], "--port=70000")
    assert "no.such.host:7" in refused(capsys, models["coconut"], "--host=no.such.host", "--port=7")
    port = f"--port={free_port()}"
    assert "no checkpoint there" in refused(capsys, tmp_path, port)
    assert "none.json" in refused(capsys, models["coconut"], port, "--data", tmp_path / "none.json")
    records.write(tmp_path / "own.json", [Example("Who?", (), "Me")])
    assert "fits the model" in refused(capsys, models["coconut"], port, "--data", tmp_path / "own.json")
