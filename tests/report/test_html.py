"""Names of others in the report's page can't hide anything; no browser is needed to see it."""

from cxrssl.report.html import render_report
from page_content import made_content


def test_no_name_brings_a_control_character_into_the_page() -> None:
    content = made_content()
    content["plan"] = "plan \x9b31m\u202eeman"
    content["gallery"]["classes"][0] = "a\x1b]0;pwn\x07"
    page = render_report(content)
    assert not set("\x1b\x07\x9b\u202e\u0000") & set(page)
    assert r"plan \x9b31m\u202eeman" in page
    assert "<svg" in page
    assert "\n" in page
