"""What docs/security.md says was tried: each test that it names exists."""

import re

from tests.deploy.tools import ROOT

# A test's file and function, as pytest takes them.
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_row_names_tests_that_exist() -> None:
    _, _, page = (ROOT / "docs" / "security.md").read_text().partition("| tried |")
    rows = [row for row in page.splitlines()[2:] if row.startswith("|")]
    assert len(rows) > 30
    for row in rows:
        named = _TEST.findall(row)
        assert named or row.endswith("| the same |"), row
        for file, function in named:
            assert re.search(rf"^(async )?def {function}\(", (ROOT / file).read_text(), re.MULTILINE), (file, function)
