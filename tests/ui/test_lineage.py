"""Looking around in the lineage."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from playwright.async_api import Page, expect

from tests.ui.conftest import Axe, OpenPage
from tests.ui.support.site import Site

# The drawing is cytoscape's, which leaves itself with its container.
_NAMES = """() => document.getElementById("lineage-graph")._cyreg.cy.nodes(".address").map(card => card.data("name"))"""
_PLACES = """() => {
    const container = document.getElementById("lineage-graph");
    const {x: left, y: top} = container.getBoundingClientRect();
    const places = {};
    for (const node of container._cyreg.cy.nodes().toArray()) {
        const {x, y} = node.renderedPosition();
        const name = node.data("name") ?? `${node.data("label")} ${node.data("side")} ${node.data("address")}`;
        places[name] = {x: left + x, y: top + y, classes: node.classes()};
    }
    return places;
}"""

# A warehouse of ten layers, in which each address is made of two or three of the layer before.
_WAREHOUSE = """async ({drawing, icons, layers, width}) => {
    const {Drawing} = await import(drawing);
    const {readIcons} = await import(icons);
    const nodes = Array.from({length: layers * width}, (_, place) => ({
        id: place + 1, name: `warehouse.layer_${place / width | 0}.a_table_with_a_long_name_${place}`,
        type: "postgresql table", group: "database", status: ["ok", "failing", "running"][place % 3],
        hops: place, hiddenUpstream: 0, hiddenDownstream: place % 50 ? 0 : 3,
    }));
    const edges = nodes.slice(width).flatMap(({id}) => [0, 1, 7].slice(0, 2 + id % 2).map(step => ({
        source: ((id - 1 - width) / width | 0) * width + ((id + step) % width) + 1, target: id, pipelines: [id],
    })));
    const pipelines = Object.fromEntries(nodes.map(({id}) => [id, {name: `load ${id}`, active: id % 9 > 0}]));
    const container = document.createElement("div");
    container.style.height = "600px";
    document.querySelector("main").append(container);
    const view = {centre: 1, name: "warehouse", selected: 1, path: [], nodes, edges, pipelines};
    const began = performance.now();
    const shown = new Drawing(container, await readIcons(document.getElementById("lineage-graph").dataset.icons));
    await shown.begin(view);
    const drawn = performance.now() - began;
    const bare = {includeLabels: false, includeOverlays: false};
    const boxes = shown.cy.nodes(".address").map(card => card.boundingBox(bare));
    const overlaps = boxes.filter((one, place) => boxes.slice(place + 1).some(
        other => one.x1 < other.x2 && other.x1 < one.x2 && one.y1 < other.y2 && other.y1 < one.y2)).length;
    const layout = performance.getEntriesByName("lineage layout", "measure").at(-1).duration;
    return {cards: boxes.length, edges: edges.length, overlaps, layout, drawn};
}"""


_FIT = """() => {
    const cy = document.getElementById("lineage-graph")._cyreg.cy;
    const bare = {includeLabels: false, includeOverlays: false};
    const cards = cy.nodes(".address").map(card => card.renderedBoundingBox(bare));
    const covers = (one, other) =>
        Math.abs(one.position("x") - other.position("x")) * 2 < one.width() + other.width() &&
        Math.abs(one.position("y") - other.position("y")) * 2 < one.height() + other.height();
    return {
        zoom: cy.zoom(),
        outside: cards.filter(({x1, y1, x2, y2}) => x1 < 0 || y1 < 0 || x2 > cy.width() || y2 > cy.height()).length,
        covered: cy.nodes(".address").filter(card => cy.nodes(".stub").some(stub => covers(card, stub))).length,
        cut: cy.nodes(".address").filter(card => card.data("label").includes("…")).length,
        affected: cy.nodes(".affected").length,
        faded: cy.nodes(".address.faded").length,
        pan: cy.pan(),
    };
}"""


async def _names(page: Page) -> set[str]:
    """The addresses of the drawing."""
    return set(await page.evaluate(_NAMES))


async def _drawn(page: Page) -> dict[str, dict[str, Any]]:
    """Where everything in the drawing is, by name."""
    places: dict[str, dict[str, Any]] = await page.evaluate(_PLACES)
    return places


async def _open(open_page: OpenPage, query: str, **how: Any) -> Page:
    page = await open_page(f"/lineage-graph{query}", **how)
    await expect(page.locator("#lineage-graph[data-ready]")).to_be_visible()
    return page


async def _click(page: Page, name: str, *, shift: bool = False) -> None:
    place = next(place for shown, place in (await _drawn(page)).items() if name in shown)
    if shift:
        await page.keyboard.down("Shift")
    await page.mouse.click(place["x"], place["y"])
    if shift:
        await page.keyboard.up("Shift")


async def test_an_address_is_found_by_keyboard_and_expanded_in_place(open_page: OpenPage, axe: Axe) -> None:
    page = await open_page("/lineage-graph")
    search = page.get_by_role("combobox")
    await search.fill("flights airlines")
    await expect(page.get_by_role("option").first).to_be_visible()
    await axe(page)
    await page.keyboard.press("ArrowDown")
    chosen = await search.get_attribute("aria-activedescendant")
    await expect(page.locator(f"#{chosen}")).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("option")).to_have_count(0)
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option").first).to_be_visible()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")

    await expect(page.locator("#lineage-graph[data-ready]")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("airlines")
    before = await _names(page)
    stub = next(name for name in await _drawn(page) if "more d" in name)
    card = next(name for name in before if name.endswith("staging_airlines"))
    place = (await _drawn(page))[card]
    await _click(page, stub)
    await expect(page).to_have_url(re.compile("expanded="))
    await expect(page.get_by_role("complementary")).to_contain_text(card)
    assert before < await _names(page)
    # What was clicked stays under the pointer.
    after = (await _drawn(page))[card]
    assert abs(after["x"] - place["x"]) + abs(after["y"] - place["y"]) < 2

    await page.go_back()
    await expect(page).to_have_url(re.compile(r"id=\d+$"))
    await expect(page.locator("#lineage-list tr[data-address]")).to_have_count(len(before))
    assert await _names(page) == before


async def test_a_path_between_two_addresses_can_be_sent_to_a_colleague(open_page: OpenPage) -> None:
    page = await _open(open_page, "?source_address_id={flights}&depth=2")
    await _click(page, "mart_daily_performance", shift=True)
    await expect(page.get_by_text("choose the other end")).to_be_visible()
    await _click(page, "flights.csv", shift=True)
    await expect(page.locator(".lineage-path")).to_contain_text("Path of 2 hops")

    colleague = await _open(open_page, page.url.partition("/lineage-graph")[2])
    await expect(colleague.locator(".lineage-path")).to_contain_text("Path of 2 hops")
    faded = {name for name, place in (await _drawn(colleague)).items() if "faded" in place["classes"]}
    assert any("weather" in name for name in faded)
    assert not any(name.endswith((".flights", "mart_daily_performance", ".zip")) for name in faded)
    await colleague.get_by_role("link", name="Clear the path").click()
    await expect(colleague.locator(".lineage-path")).to_have_count(0)
    assert not any("faded" in place["classes"] for place in (await _drawn(colleague)).values())


async def test_the_tables_and_the_arrow_keys_lead_through_the_drawing(open_page: OpenPage) -> None:
    page = await _open(open_page, "?source_address_id={flights}")
    await page.locator("#lineage-graph").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#lineage-said")).to_contain_text("mart_")
    await page.keyboard.press("Enter")
    panel = page.get_by_role("complementary")
    await expect(panel.get_by_role("heading", level=2)).to_contain_text("mart_")
    await expect(page).to_have_url(re.compile("selected="))

    await page.get_by_role("link", name="staging_planes").first.focus()
    marked = {name for name, place in (await _drawn(page)).items() if "chosen" in place["classes"]}
    assert [name.endswith("staging_planes") for name in marked] == [True]
    await page.keyboard.press("Enter")
    await expect(panel.get_by_role("heading", level=2)).to_contain_text("staging_planes")
    await panel.get_by_role("link", name="Centre here").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("staging_planes")


async def test_the_drawing_is_saved_as_pictures_named_after_the_address(
    open_page: OpenPage, demo_site: Site, tmp_path: Path
) -> None:
    page = await _open(open_page, demo_site.path("?source_address_id={flights}"), scheme="dark")
    for kind, name in (("svg", "SVG"), ("png", "PNG")):
        async with page.expect_download() as download:
            await page.get_by_role("button", name=name).click()
        saved = await download.value
        assert saved.suggested_filename.endswith(f".demo_flights.flights.{kind}")
        await saved.save_as(tmp_path / kind)

    assert (tmp_path / "png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "svg").read_text(encoding="utf-8")
    ET.fromstring(svg)  # noqa: S314 - our own file
    assert "mart_daily_performance</title>" in svg
    # Cards are whole; the name of a pipeline on its edge has the room between two cards.
    assert "…" not in re.sub(r"<g><path .*?</g>", "", svg)


def _address(site: Site, name: str) -> int:
    with site.client() as client:
        found = client.get("/lineage-graph/search", params={"q": name}).json()["addresses"]
    return int(found[0]["id"])


async def test_a_deep_graph_is_seen_whole_with_whole_names_and_what_is_affected(
    open_page: OpenPage, demo_site: Site, axe: Axe
) -> None:
    with demo_site.client() as client:
        about = {"name": "shape contacts", "pipeline_type_name": "transform"}
        shape = client.post("/pipeline", json=about).json()["id"]
        kind = {"address_type_name": "postgresql", "address_type_group_name": "database"}
        sources = [{**kind, "name": "warehouse.staging.contacts"}]
        targets = [{**kind, "name": f"warehouse.core.{name}"} for name in ("contacts_of_customers", "regions")]
        body = {"pipeline_id": shape, "source_addresses": sources, "target_addresses": targets}
        assert client.post("/address_lineage", json=body).status_code == 201
    contacts = _address(demo_site, "crm.public.contacts")
    for width in (390, 1440):
        page = await _open(open_page, f"?source_address_id={contacts}&direction=downstream&depth=5", width=width)
        found = await page.evaluate(_FIT)
        assert (found["outside"], found["covered"], found["cut"]) == (0, 0, 0)
        assert found["zoom"] > 0.7
        # The load of the contacts fails; what is made of them lies below.
        assert found["affected"] == 2
    await expect(page.locator("#lineage-list tr", has_text="warehouse.core.regions")).to_contain_text("affected")
    await axe(page)


async def test_a_large_graph_has_a_map_and_is_filtered_by_status(
    open_page: OpenPage, demo_site: Site, axe: Axe
) -> None:
    kind = {"address_type_name": "topic", "address_type_group_name": "stream"}
    with demo_site.client() as client:
        pipeline = client.post("/pipeline", json={"name": "fan out", "pipeline_type_name": "stream"}).json()["id"]
        targets = [{**kind, "name": f"events.many/part_{number}"} for number in range(120)]
        body = {"pipeline_id": pipeline, "source_addresses": [{**kind, "name": "events.all"}]}
        client.post("/address_lineage", json={**body, "target_addresses": targets})
    centre = _address(demo_site, "events.all")
    page = await _open(open_page, f"?source_address_id={centre}&expanded={centre}d120")
    await expect(page.locator("#lineage-map")).to_be_visible()
    before = (await page.evaluate(_FIT))["pan"]
    await page.locator("#lineage-map canvas").click(position={"x": 20, "y": 10})
    assert (await page.evaluate(_FIT))["pan"] != before
    await axe(page)
    chips = page.get_by_role("navigation", name="Status")
    await chips.get_by_role("link", name="unknown 121").click()
    await expect(page).to_have_url(re.compile("status=unknown"))
    await expect(page.locator("#lineage-list tr[data-address]")).to_have_count(121)


async def test_a_path_is_completed_by_searching_for_its_other_end(open_page: OpenPage) -> None:
    page = await _open(open_page, "?source_address_id={flights}")
    await page.get_by_role("link", name="Path from here").click()
    await expect(page.get_by_text("choose the other end")).to_be_visible()
    await page.get_by_role("combobox").fill("mart_daily_performance")
    await page.get_by_role("option").first.click()
    await expect(page.locator(".lineage-path")).to_contain_text("Path of 1 hop")


async def test_five_hundred_addresses_are_laid_out_one_beside_the_other(open_page: OpenPage) -> None:
    page = await _open(open_page, "?source_address_id={flights}")
    script = await page.locator('script[src$="/lineage/page.js"]').get_attribute("src")
    assert script is not None
    modules = {name: script.replace("page.js", f"{name}.js") for name in ("drawing", "icons")}

    found = await page.evaluate(_WAREHOUSE, {**modules, "layers": 10, "width": 50})

    assert (found["cards"], found["overlaps"]) == (500, 0)
    sys.stdout.write(json.dumps(found) + "\n")
