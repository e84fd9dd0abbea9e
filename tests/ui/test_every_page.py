"""What holds of every page, whatever it is about."""

from dataclasses import dataclass

import pytest
from playwright.async_api import Page, expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.looks import check_focus, check_width, count_local_times
from tests.ui.support.scene import HOSTILE_NAME
from tests.ui.support.site import Site


@dataclass(frozen=True)
class Subject:
    """A page: something that its main part shows of the demo, and what of the following holds of it.

    ``timed``: it shows times. ``always``: it is there without data too; ``empty``: and then says what to do.
    """

    name: str
    path: str
    shows: str
    timed: bool = True
    always: bool = True
    empty: bool = True


LINEAGE_OF_ONE = "/lineage-graph?source_address_id={flights}"
PAGES = (
    Subject("overview", "/ui", "crm contacts"),
    Subject("pipelines", "/ui/pipelines", "crm contacts", timed=False),
    Subject("pipeline", "/ui/pipelines/{anomalous}", "flights", always=False),
    Subject("execution", "/ui/executions/{tree_execution}", "mart returns", always=False),
    Subject("lineage", "/lineage-graph", "crm.public.contacts", timed=False),
    Subject("lineage-of-one", LINEAGE_OF_ONE, "mart_daily_performance", always=False, timed=False),
    Subject("sources", "/ui/sources", "Connect a tool", timed=False),
    Subject("connect", "/ui/sources/connect", "Waiting for the first event", timed=False, empty=False),
    Subject("anomalies", "/ui/anomalies", "flights"),
    Subject("incidents", "/ui/incidents", "crm contacts is failing"),
    Subject("incident", "/ui/incidents/{incident}", "connection to crm.example", always=False),
    Subject("alerts", "/ui/alerts", "Freshness Check - Pipeline DML"),
    Subject("channels", "/ui/channels", "from the settings", timed=False),
    Subject("channel", "/ui/channels/edit?type=email", "SMTP server", timed=False, empty=False),
    Subject("routes", "/ui/routes", "what no other did", timed=False),
    Subject("route", "/ui/routes/edit", "What it says", timed=False, empty=False),
    Subject("windows", "/ui/windows", "Be quiet from now on", timed=False),
    Subject("reporting", "/reporting", "warehouse build", timed=False),
    Subject("tasks", "/ui/tasks", "detect_anomalies_task"),
    Subject("task", "/ui/tasks/{failed_task}", "Connection timeout", always=False),
    Subject("diagnostics", "/diagnostics", "pipeline_execution", timed=False, empty=False),
    Subject("settings", "/ui/settings", "WATCHER_DATABASE_URL", timed=False, empty=False),
    Subject("account", "/ui/account", "Watcher asks for no login", timed=False, empty=False),
    Subject("archive", "/ui/archive", "None is archived", timed=False, empty=False),
    Subject("audit", "/ui/audit", "create", empty=True),
    Subject("documentation", "/ui/documentation", "Reporting runs", timed=False, empty=False),
    Subject("document", "/ui/documentation/runs", "next_watermark", timed=False, empty=False),
    Subject("login", "/login", "token", timed=False, empty=False),
)
REFERENCES = ("/docs", "/scalar")
# Pages that name the pipeline whose name is markup.
HOSTILE = (
    "/ui",
    "/ui/pipelines",
    "/ui/pipelines/{hostile}",
    "/ui/executions/{hostile_execution}",
    "/lineage-graph",
    "/ui/incidents",
    "/ui/alerts",
    "/reporting",
)

every_page = pytest.mark.parametrize("subject", PAGES, ids=lambda subject: subject.name)


async def _check_content(page: Page, subject: Subject) -> None:
    await expect(page.locator("h1")).to_have_count(1)
    await expect(page.locator("main")).to_contain_text(subject.shows)


@every_page
async def test_light_is_whole_local_and_for_the_keyboard(open_page: OpenPage, axe: Axe, subject: Subject) -> None:
    page = await open_page(subject.path)
    await _check_content(page, subject)
    times = await count_local_times(page)
    assert times or not subject.timed
    await check_focus(page)
    await axe(page)


@every_page
async def test_dark_and_any_width_are_readable(open_page: OpenPage, axe: Axe, subject: Subject) -> None:
    page = await open_page(subject.path, scheme="dark", width=360)
    await _check_content(page, subject)
    await axe(page)
    for width in (360, 2560):
        await check_width(page, width)


@every_page
async def test_it_works_without_javascript(open_page: OpenPage, subject: Subject) -> None:
    await _check_content(await open_page(subject.path, javascript=False), subject)


@pytest.mark.parametrize("subject", [page for page in PAGES if page.always], ids=lambda subject: subject.name)
async def test_without_data_it_says_what_to_do(open_page: OpenPage, empty_site: Site, subject: Subject) -> None:
    page = await open_page(subject.path, site=empty_site)
    await expect(page.locator("h1")).to_have_count(1)
    if subject.empty:
        await expect(page.locator("main .empty").first).to_be_visible()


@pytest.mark.parametrize("path", REFERENCES)
async def test_the_reference_of_the_api_loads_nothing_from_elsewhere(
    open_page: OpenPage, empty_site: Site, path: str
) -> None:
    page = await open_page(path, site=empty_site)
    await expect(page.get_by_text("start_pipeline_execution").first).to_be_visible()


@pytest.mark.parametrize("path", HOSTILE)
async def test_a_name_that_is_markup_is_shown_as_it_is(open_page: OpenPage, path: str) -> None:
    page = await open_page(path)
    await expect(page.locator("main").get_by_text(HOSTILE_NAME).first).to_be_attached()
    assert await page.locator("img[src=x]").count() == 0
