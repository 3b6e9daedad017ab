"""Calls to the Hub outlive what passes, and tell what does not without a traceback or a token."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from cxrssl.core.errors import HubError
from cxrssl.hub import pull as hub
from cxrssl.hub.pull import asked, fetched, redacted

URL = "https://hub.test/api/models/org/name"


def answer(status: int, told: str = "no") -> HfHubHTTPError:
    """Return the error that an answer of the Hub becomes."""
    response = httpx2.Response(status, request=httpx2.Request("GET", URL))
    return HfHubHTTPError("x", response=response, server_message=told)


def wrapped(cause: Exception) -> RuntimeError:
    """Return an error of huggingface_hub's own around another."""
    error = RuntimeError("Error while uploading")
    error.__cause__ = cause
    return error


def xet_error() -> Exception:
    """Return an error of the uploader of large files."""
    kind = type("XetAuthenticationError", (PermissionError,), {"__module__": "hf_xet.errors"})
    return kind("refresh failed")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_WAITS_S", (0, 0, 0))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """Return a call that fails so, one after the other, and how often it was made."""
    left, calls = list(errors), [0]

    def call() -> str:
        calls[0] += 1
        if left:
            raise left.pop(0)
        return "done"

    return call, calls


@pytest.mark.parametrize(
    "error",
    [
        answer(503),
        answer(429),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        ConnectionResetError("reset"),
        json.JSONDecodeError("Expecting value", "<html>", 0),
        wrapped(answer(500)),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    call, calls = failing(error, error)
    assert asked(call, "org/name") == "done"
    assert calls == [3]
    with pytest.raises(HubError, match="org/name"):
        asked(failing(*[error] * 4)[0], "org/name")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answer(403, "you may not"), r"refuses .* \(403: you may not\)\. The token is missing"),
        (answer(507, "no room"), "answers 507 for org/name: no room"),
        (wrapped(answer(507, "no room")), "answers 507 for org/name: no room"),
        (xet_error(), "refresh failed"),
        (
            GatedRepoError("x", response=answer(403).response),
            r"accept them on its page, http.*/org/name, and log in",
        ),
    ],
)
def test_what_will_not_pass_is_told_at_once(error: Exception, message: str) -> None:
    call, calls = failing(error)
    with pytest.raises(HubError, match=message):
        asked(call, "org/name")
    assert calls == [1]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyError("bug"), OSError(28, "full")])
def test_what_is_not_the_hubs_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        asked(failing(error)[0], "org/name")


def test_no_error_holds_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    assert redacted("x my-own-secret y") == "x hf_*** y"
    with pytest.raises(HubError) as caught:
        asked(failing(answer(400, "bad my-own-secret"))[0], "org/name")
    assert "my-own-secret" not in str(caught.value)
    assert "hf_***" in str(caught.value)


def test_a_path_of_this_machine_asks_nobody() -> None:
    found = fetched(Path("runs/ssl/backbone"))
    assert (found.folder, found.source) == (Path("runs/ssl/backbone"), "runs/ssl/backbone")


def test_offline_a_place_that_is_not_in_the_cache_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="org/nowhere@main is not whole in the cache"):
        fetched(Path("hf-hub:org/nowhere"))
