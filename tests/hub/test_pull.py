"""Calls to the Hub outlive what passes, and tell what does not without a traceback or a token."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

from cxrssl.core.errors import HubError
from cxrssl.hub import pull
from cxrssl.hub.pull import ask_hub


def answer(
    status: int, text: str = "no", kind: type[HfHubHTTPError] = HfHubHTTPError
) -> HfHubHTTPError:
    """Return the error that an answer of the Hub becomes."""
    url = "https://hub.test/api/models/org/name"
    response = httpx2.Response(status, request=httpx2.Request("GET", url))
    return kind("x", response=response, server_message=text)


def upload_error(cause: Exception) -> RuntimeError:
    """Return huggingface_hub's error for an upload that failed."""
    error = RuntimeError("Error while uploading")
    error.__cause__ = cause
    return error


class XetError(PermissionError):
    """An error of the library that moves large files."""

    __module__ = "hf_xet.errors"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_WAITS_S", (0, 0, 0))
    monkeypatch.setattr(pull.constants, "HF_HUB_OFFLINE", False)


def failing(*errors: Exception) -> tuple[Callable[[], str], list[Exception]]:
    """Return a call that fails so, one after the other, and what it has left."""
    remaining = list(errors)

    def call() -> str:
        if remaining:
            raise remaining.pop(0)
        return "done"

    return call, remaining


@pytest.mark.parametrize(
    "error",
    [
        answer(503),
        answer(429),
        httpx2.ConnectError("refused"),
        ConnectionResetError("reset"),
        json.JSONDecodeError("Expecting value", "<html>", 0),
        upload_error(answer(500)),
    ],
    ids=str,
)
def test_transient_fault_is_retried(error: Exception) -> None:
    assert ask_hub(failing(*[error] * 3)[0], "org/name") == "done"
    with pytest.raises(HubError, match="org/name"):
        ask_hub(failing(*[error] * 4)[0], "org/name")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answer(403, "you may not"), r"answers 403 .*: you may not\. The token is missing"),
        (answer(404, "no x", RevisionNotFoundError), "no x. The repository is there, and has no"),
        (answer(403, "ask", GatedRepoError), r"its terms on its page, http.*/org/name, and log in"),
        (upload_error(answer(507, "no room")), r"answers 507 for org/name@main: no room\."),
        (XetError("refresh failed"), "refresh failed"),
        (answer(400, "bad my-own-secret hf_12345678"), r"bad hf_\*\*\* hf_\*\*\*\."),
    ],
    ids=str,
)
def test_refusal_is_told_at_once_without_the_token(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    call, remaining = failing(error, error)
    with pytest.raises(HubError, match=message):
        ask_hub(call, "org/name@main")
    assert remaining == [error]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyError("bug"), OSError(28, "full")])
def test_fault_of_another_kind_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        ask_hub(failing(error)[0], "org/name")


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("\ufeff---\r\ntags: [a]\r\nlicense: apache-2.0\r\n---\r\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit, gpl-3.0]\n---\n", "mit, gpl-3.0"),
        ("---\nlicense: 'a\x1b[2J" + "b" * 200 + "'\n---\n", None),
        ("---\nlicense: " + "b" * 200 + "\n---\n", "b" * 80),
        ("---\nlicense: {a: b}\n---\n", None),
        ("---\nlicense: &a mit\nx: *a\n---\n", None),
        ("---\n- license\n---\n", None),
        ("license: mit\n", None),
        ("---\nlicense: mit\n" + "#" * (1 << 17) + "\n---\n", None),
    ],
    ids=range(12),
)
def test_a_cards_licence_is_text_of_one_line_or_nothing(
    text: str, licence: str | None, tmp_path: Path
) -> None:
    card = tmp_path / "README.md"
    card.write_text(text, newline="")
    assert pull.card_licence(card) == licence


def test_a_licence_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert pull.card_licence(tmp_path / "README.md") is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert pull.card_licence(tmp_path / "README.md") == "\ufffd"
