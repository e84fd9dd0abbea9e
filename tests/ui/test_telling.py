"""A new team says who is told of what: two channels, the pager for finance, a quiet night, and who would be told."""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Locator, Page, expect

from tests.alerts.channels.test_mail import Mailbox, mail_server
from tests.conftest import create_database
from tests.support.http_sink import HttpSink, http_sink
from tests.support.live import start_live, wait_until
from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.shop import Shop
from tests.ui.support.site import Site

BERLIN = ZoneInfo("Europe/Berlin")
ROUTE = """\
match: {owner: finance, kind: [failing, stale]}
to: [pager]
group_wait: 0s
fallback: ops-mail
"""
SATURDAY_NIGHT = """\
cron: 0 22 * * SAT
duration: 4h
zone: Europe/Berlin
match: {type: dbt}
"""


@dataclass(frozen=True)
class Team:
    """A Watcher of a team, and the Slack, the pager and the mailbox that it can reach."""

    site: Site
    slack: HttpSink
    pager: HttpSink
    mailbox: Mailbox


@pytest.fixture(scope="module")
def _team(worker_id: str, _brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A site of its own: only its processes know where the secrets of the channels are."""
    url = create_database(f"watcher_ui_team_{worker_id}")
    with ExitStack() as stack:
        slack, pager = stack.enter_context(http_sink()), stack.enter_context(http_sink())
        mailbox = stack.enter_context(mail_server())
        settings = {
            "TEAM_SLACK_URL": slack.url,
            "TEAM_PAGER_URL": pager.url,
            "TEAM_PAGER_KEY": f"whsec_{b64encode(bytes(32)).decode()}",
            "WATCHER_ALERT_PRIVATE_HOSTS": "127.0.0.1",
        }
        logs = tmp_path_factory.mktemp("team_site")
        server = stack.enter_context(start_live(url, f"{_brokers}?virtual_host=3", logs, settings=settings))
        yield Team(Site(server.url, url), slack, pager, mailbox)


@pytest.fixture
def team(_team: Team) -> Iterator[Team]:
    """The team before it has said anything."""
    yield _team
    with _team.site.client() as client:
        for kind in ("windows", "routes", "channels"):
            names = [each["name"] for each in client.get(f"/alerting/{kind}").json()]
            for name in set(names) - {"default"}:
                client.delete(f"/alerting/{kind}/{name}").raise_for_status()


async def _press(page: Page, control: Locator) -> None:
    """As somebody does who uses no mouse."""
    await control.focus()
    await page.keyboard.press("Enter")


async def _save(page: Page, said: str) -> None:
    await _press(page, page.get_by_role("button", name="Save"))
    await expect(page.locator("main .notice:visible")).to_contain_text(said)


async def _add_channel(page: Page, type_: str, **fields: str) -> None:
    await _press(page, page.get_by_role("link", name=type_, exact=True))
    for label, value in fields.items():
        await page.get_by_label(re.compile(f"^{label.replace('_', ' ')}", re.IGNORECASE)).fill(value)
    await _save(page, f"{fields['name']} is saved.")


async def _try_channel(page: Page, name: str) -> None:
    await _press(page, page.get_by_role("button", name=f"Test {name}"))
    await expect(page.locator("main .notice:visible")).to_contain_text(f"Both messages of the test arrived in {name}.")
    await expect(page.get_by_role("row", name=name)).to_contain_text("ok")


async def _set_up_channels(page: Page, team: Team) -> None:
    await expect(page.locator("main .empty")).to_contain_text("Everything goes to one place")
    await _add_channel(page, "Slack", name="data-slack", webhook_url="env:TEAM_SLACK_URL")
    await _try_channel(page, "data-slack")
    assert [each.json["text"].count("TEST") > 0 for each in team.slack.received[-2:]] == [True, True]

    await page.get_by_role("link", name="E-mail", exact=True).click()
    await page.get_by_label("Name", exact=True).fill("ops-mail")
    await page.get_by_label("SMTP server").fill("127.0.0.1")
    await page.get_by_label("Port").fill(str(team.mailbox.port))
    await page.get_by_label("Encryption").select_option("none")
    await page.get_by_label("From").fill("watcher@acme.example")
    await _save(page, "Not changed. To is missing.")
    await page.get_by_label(re.compile("^To")).fill("ops@acme.example\noncall@acme.example")
    await _save(page, "ops-mail is saved.")
    await _try_channel(page, "ops-mail")
    assert {address for address, _ in team.mailbox.taken} == {"ops@acme.example", "oncall@acme.example"}

    await _add_channel(page, "Webhook", name="pager", url="env:TEAM_PAGER_URL", signing_keys="env:TEAM_PAGER_KEY")


async def _route_finance_to_the_pager(page: Page) -> None:
    await page.get_by_role("link", name="Routes", exact=True).click()
    await expect(page.locator("main .empty")).to_contain_text("No route but the last")
    await _press(page, page.get_by_role("link", name="Add a route").first)
    await page.get_by_label("Name").fill("finance")
    await page.get_by_label("What it says").fill(ROUTE.replace("[pager]", "[pgaer]"))
    await _save(page, "Line 2, column 5: 'to' names the channel 'pgaer'")
    await page.get_by_label("What it says").fill(ROUTE)
    await _save(page, "finance is saved.")
    rows = page.get_by_role("region", name="Routes").locator("tbody tr")
    await expect(rows).to_contain_text(["pager", "what no other did"])


async def _quieten_saturday_night(page: Page) -> None:
    await page.get_by_role("link", name="Windows and mutes").click()
    await expect(page.locator("main .empty")).to_contain_text("Nothing is quiet")
    await _press(page, page.get_by_role("link", name="Add one that comes again").first)
    await page.get_by_label("Name").fill("saturday-night")
    await page.get_by_label("What it says").fill(SATURDAY_NIGHT)
    await _save(page, "saturday-night is saved.")
    await expect(page.get_by_role("row", name="saturday-night")).to_contain_text("0 22 * * SAT Europe/Berlin, for 4h")


async def _see_who_would_be_told(page: Page, site: Site, pipeline: int) -> None:
    await page.goto(site.address(f"/ui/pipelines/{pipeline}"))
    await _press(page, page.get_by_role("link", name="Who is told"))
    failing, late = (page.get_by_role("row", name=re.compile(f"^{kind}")) for kind in ("failing", "late"))
    await expect(failing).to_contain_text("pager")
    await expect(late).to_contain_text("not finance: the kind is late, not failing or stale")

    saturday = _next_saturday()
    await page.get_by_label("If it were found at (UTC)").fill(f"{saturday.astimezone(UTC):%Y-%m-%dT%H:%M}")
    await _press(page, page.get_by_role("button", name="Show"))
    await expect(failing).to_contain_text("quiet by saturday-night")
    end = saturday.replace(hour=2) + timedelta(days=1)
    told_at = await failing.locator("time").first.get_attribute("datetime")
    assert told_at is not None
    assert datetime.fromisoformat(told_at) == end


def _next_saturday() -> datetime:
    """Eleven in the evening of a Saturday to come, in Berlin."""
    today = datetime.now(BERLIN).date()
    return datetime.combine(today + timedelta(days=(5 - today.weekday()) % 7 or 7), time(23), BERLIN)


@pytest.mark.parametrize("javascript", [True, False], ids=["with-scripts", "without"])
async def test_a_new_team_says_who_is_told_and_the_pager_rings(
    open_page: OpenPage, team: Team, axe: Axe, *, javascript: bool
) -> None:
    with team.site.client() as client:
        shop = Shop(client)
        quiet, loud = (
            shop.pipeline(f"{name} {javascript}", kind, owner="finance")
            for name, kind in (("revenue", "dbt"), ("refunds", "shop extraction"))
        )
        page = await open_page("/ui", site=team.site, javascript=javascript, expects=("status of 422 ",))
        await page.get_by_role("link", name="Alerting", exact=True).click()
        await _set_up_channels(page, team)
        await _route_finance_to_the_pager(page)
        await _quieten_saturday_night(page)
        await _see_who_would_be_told(page, team.site, quiet)
        if javascript:
            await axe(page)

        now = datetime.now(UTC)
        shop.run(loud, now - timedelta(minutes=1), now, success=False)
    wait_until(lambda: any("refunds" in each.body.decode() for each in team.pager.received), "the pager's message")
