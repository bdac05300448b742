"""Which requests the page answers, without the page."""

import pytest

pytest.importorskip("starlette")

from latentcot.ui.guard import LARGEST_BODY, find_refusal, is_local


def refusal(bound: str, method: str = "POST", path: str = "/queue/join", kind: str = "http", **headers: str) -> int:
    """The status of the answer to a request; 0 if it is passed on."""
    headers = {"content-length": "3", **headers} if method == "POST" else headers
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    found = find_refusal({"type": kind, "method": method, "path": path, "headers": encoded}, bound)
    return found[0] if found else 0


@pytest.mark.parametrize("name", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST:7860", "[::1]:7860", "127.0.0.1"])
def test_names_of_this_machine(name: str) -> None:
    assert refusal("127.0.0.1", host=name) == 0
    assert refusal("127.0.0.1", "GET", host=name) == 0


@pytest.mark.parametrize("name", ["evil.example:7860", "127.0.0.1.evil.example:7860", "", "[::1", "10.0.0.1:7860"])
def test_other_names(name: str) -> None:
    assert refusal("127.0.0.1", "GET", host=name) == 403
    assert refusal("localhost", "GET", host=name) == 403
    assert refusal("127.0.0.1", "GET", kind="websocket", host=name) == 403
    assert refusal("0.0.0.0", "GET", host=name) == 0  # Open to the network: by whatever name it is known there.
    assert refusal("192.168.0.7", "GET", host=name) == 0


def test_the_address_itself_is_a_name() -> None:
    assert refusal("127.0.0.7", "GET", host="127.0.0.7:7860") == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:7860.evil.example"],
)
def test_other_origins(origin: str, host: str) -> None:
    for method in ("POST", "GET", "DELETE"):
        assert refusal(host, method, host="127.0.0.1:7860", origin=origin) == 403
    assert refusal(host, host="127.0.0.1:7860", origin="http://127.0.0.1:7860") == 0
    assert refusal(host, host="127.0.0.1:7860", origin="https://127.0.0.1:7860") == 0  # Behind a proxy with TLS.


def test_uploads_and_large_requests() -> None:
    own = {"host": "localhost:7860", "origin": "http://localhost:7860"}
    assert refusal("127.0.0.1", path="/gradio_api/upload", **own) == 403
    assert refusal("127.0.0.1", content_type="multipart/form-data; boundary=x", **own) == 403
    assert refusal("127.0.0.1", **{"content-length": str(LARGEST_BODY)}, **own) == 0
    assert refusal("127.0.0.1", **{"content-length": str(LARGEST_BODY + 1)}, **own) == 413
    for length in ("9" * 5000, "-1", "1e3", "", "²"):
        assert refusal("127.0.0.1", **{"content-length": length}, **own) in (411, 413)
    assert refusal("127.0.0.1", "PUT", **own) == 411  # No length at all.


def test_which_addresses_are_local() -> None:
    assert [is_local(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.0.7", "my.host")] == [False] * 4
