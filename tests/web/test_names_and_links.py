"""Names break where their parts meet, and addresses of the web are links."""

import pytest

from watcher_server.web.filters import breakable, linked


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mart.daily", "mart.daily"),
        ("warehouse.marts/daily_performance", "warehouse.<wbr>marts/<wbr>daily_performance"),
        ("s3://lake/raw/events/2026", "s3://<wbr>lake/<wbr>raw/<wbr>events/<wbr>2026"),
        ("a_pipeline_whose_name_is_long", "a_<wbr>pipeline_<wbr>whose_<wbr>name_<wbr>is_<wbr>long"),
        ("<b>bold</b>.and.something.more", "&lt;b&gt;bold&lt;/<wbr>b&gt;.<wbr>and.<wbr>something.<wbr>more"),
    ],
)
def test_a_long_name_breaks_at_its_dots_and_slashes(name: str, shown: str) -> None:
    assert breakable(name) == shown


@pytest.mark.parametrize(
    ("said", "link"),
    [
        ("https://wiki.example/a?b=1&c=2", "https://wiki.example/a?b=1&amp;c=2"),
        ("see http://wiki.example/a).", "http://wiki.example/a"),
        ('["https://bi.example/d/1"]', "https://bi.example/d/1"),
        ('https://x.example/"onclick="alert(1)', "https://x.example/"),
    ],
)
def test_an_address_of_the_web_is_a_link(said: str, link: str) -> None:
    assert f'<a href="{link}" rel="noreferrer noopener nofollow">{link}</a>' in linked(said)
    assert linked(said).striptags() == said


@pytest.mark.parametrize("said", ["javascript:alert(1)", "ftp://files.example", "<script>", "data:text/html,x", "//x"])
def test_nothing_else_is_one(said: str) -> None:
    assert "<a" not in linked(said)
    assert "<script" not in linked(said)
