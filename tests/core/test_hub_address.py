"""Names of the Hub are what they seem, and errors about them hold no token."""

from pathlib import Path

import pytest

from cxrssl.core.errors import HubError
from cxrssl.core.hub_address import check_repo, is_on_hub, parse_address, without_secrets

SECRET = "hf_" + "abcdefghijklmnop"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf-hub:org/name", ("org/name", None)),
        ("hf-hub:Org-1/na.me_2@v1", ("Org-1/na.me_2", "v1")),
        ("hf-hub:org/name@refs/pr/1", ("org/name", "refs/pr/1")),
    ],
)
def test_a_place_is_a_repository_and_a_revision(
    text: str, expected: tuple[str, str | None]
) -> None:
    assert is_on_hub(Path(text))
    assert parse_address(Path(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hf-hub:name",
        "hf-hub:../name",
        "hf-hub:org/../x",
        "hf-hub:/etc/x",
        "hf-hub:o/n@",
        "hf-hub:",
        "hf-hub:o/a--b",
        "hf-hub:o/a.git",
        "hf-hub:o/a-",
        f"hf-hub:o/{'n' * 95}",
    ],
)
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(HubError, match="expected hf-hub:ORG/NAME"):
        parse_address(Path(text))


@pytest.mark.parametrize("repo", ["name", "a/b/c", "org/", "-x/y", f"https://{SECRET}@hub/x"])
def test_a_repository_to_push_to_has_an_owner_and_a_name(repo: str) -> None:
    with pytest.raises(HubError, match="expected ORG/NAME") as caught:
        check_repo(repo)
    assert SECRET not in str(caught.value)


def test_a_folder_is_no_place_of_the_hub_and_a_token_no_word() -> None:
    assert not is_on_hub(Path("runs/ssl/backbone"))
    assert without_secrets(f"a {SECRET} b") == "a hf_*** b"
    assert without_secrets("hf_home") == "hf_home"
