/**
 * The lineage of one address: the drawing, the panel and the tables show one view, and the URL holds it.
 */

import { root } from "../root.js";
import { writeTimes } from "../time.js";
import { Drawing } from "./drawing.js";
import { savePng, saveSvg } from "./export.js";
import { readIcons } from "./icons.js";
import { nextAddress } from "./keys.js";
import { placeStubs } from "./layout.js";
import { Minimap } from "./minimap.js";
import { completeSearch } from "./search.js";

/** @typedef {import("./elements.js").LineageData} LineageData */

const PARTS = ["lineage-bar", "lineage-details", "lineage-list"];
const VIEW = `${root}/lineage-graph`;
const REFRESH_MILLISECONDS = 30_000;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const canvas = byId("lineage-graph");
/** @type {number} */
let chosen;
/** @type {Drawing} */
let drawing;
/** @type {Minimap} */
let minimap;

/**
 * @param {ParentNode} root
 * @returns {LineageData}
 */
function readData(root) {
  return JSON.parse(root.querySelector("#lineage-data")?.textContent ?? "");
}

/** @param {string} problem nothing for none */
function complain(problem) {
  const notice = byId("lineage-error");
  notice.textContent = problem;
  notice.hidden = !problem;
  drawing.cy.resize();
}

/**
 * Fetch a part of the page; undefined when that failed, which the page has then said.
 * @param {string} url
 */
async function fetchPart(url) {
  try {
    const answer = await fetch(url, { headers: { "HX-Request": "true", "HX-Current-URL": location.href } });
    const login = answer.headers.get("HX-Redirect");
    if (login) location.assign(login);
    complain(answer.ok ? "" : `Watcher answered ${answer.status}: what is shown is as it was. Try again in a moment.`);
    return answer.ok ? await answer.text() : undefined;
  } catch {
    complain("Watcher does not answer: what is shown is as it was. Try again in a moment.");
    return undefined;
  }
}

/**
 * Replace parts of the page by those with the same id.
 * @param {Document} fresh
 * @param {string[]} ids
 */
function replaceParts(fresh, ids) {
  for (const id of ids) {
    const part = fresh.getElementById(id);
    if (part) Idiomorph.morph(byId(id), part.innerHTML, { morphStyle: "innerHTML" });
    writeTimes(byId(id));
  }
  // A part above the drawing may have changed its height and moved it.
  drawing.cy.resize();
}

/**
 * Change to another view of this address.
 * @param {string} url
 * @param {{anchor?: number, push?: boolean}} [how]
 */
async function load(url, { anchor, push = true } = {}) {
  const part = await fetchPart(url);
  if (part === undefined) return;
  const fresh = new DOMParser().parseFromString(part, "text/html");
  const view = readData(fresh);
  if (push) history.pushState({ lineage: true }, "", url);
  replaceParts(fresh, PARTS);
  await drawing.change(view, anchor);
  minimap.show();
  mark(view.selected ?? view.centre, anchor !== undefined);
  showNeighbours(chosen);
}

/** Take over what has changed meanwhile; the part in view stays as it is. */
async function refresh() {
  const part = document.hidden ? undefined : await fetchPart(location.href);
  if (part === undefined) return;
  const fresh = new DOMParser().parseFromString(part, "text/html");
  replaceParts(fresh, PARTS);
  await drawing.change(readData(fresh), chosen);
  minimap.show();
  mark(chosen, false);
  showNeighbours(chosen);
}

/**
 * Mark an address wherever it is shown.
 * @param {number} address
 * @param {boolean} [reveal] whether to bring it into sight
 */
function mark(address, reveal = true) {
  chosen = address;
  drawing.mark(address, reveal);
  for (const row of document.querySelectorAll("#lineage-list tr[data-address]")) {
    const isIt = row.getAttribute("data-address") === `${address}`;
    if (isIt) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

/**
 * Select an address: show its details, and put it into the URL.
 * @param {number} address
 */
async function choose(address) {
  mark(address);
  const url = new URL(location.href);
  url.searchParams.set("selected", `${address}`);
  history.replaceState({ lineage: true }, "", url);
  const part = await fetchPart(`${VIEW}/details${url.search}`);
  if (part === undefined || chosen !== address) return;
  byId("lineage-details").innerHTML = part;
  writeTimes(byId("lineage-details"));
  showNeighbours(address);
}

/**
 * Copy the links that expand and collapse an address from its row of the tables into the panel.
 * @param {number} address
 */
function showNeighbours(address) {
  const place = document.querySelector("[data-neighbours]");
  const links = [...(rowOf(address)?.querySelectorAll("a[data-view]") ?? [])];
  const copies = links.map((link) => {
    const copy = /** @type {HTMLAnchorElement} */ (link.cloneNode(true));
    const side = copy.dataset.more ?? copy.dataset.less;
    copy.textContent = `${copy.textContent} ${side === "u" ? "upstream" : "downstream"}`;
    copy.removeAttribute("aria-label");
    copy.dataset.anchor = `${address}`;
    return copy;
  });
  place?.replaceChildren(...copies);
}

/** @param {number} address */
function rowOf(address) {
  return document.querySelector(`#lineage-list tr[data-address="${address}"]`);
}

/**
 * Follow a link of an address's row.
 * @param {number} address
 * @param {string} which as a selector
 */
function follow(address, which) {
  const link = rowOf(address)?.querySelector(which);
  if (link instanceof HTMLAnchorElement) load(link.href, { anchor: address });
  return link !== null && link !== undefined;
}

/**
 * Expand an address, or collapse it when all is shown, on the side that leads away from the centre.
 * @param {number} address
 * @param {number | null} hops
 */
function toggle(address, hops) {
  const sides = hops === null || hops === 0 ? ["d", "u"] : hops > 0 ? ["d"] : ["u"];
  const links = [...sides.map((side) => `a[data-more=${side}]`), ...sides.map((side) => `a[data-less=${side}]`)];
  links.some((which) => follow(address, which));
}

/**
 * Make an address one end of a path, the other once there is one.
 * @param {number} address
 */
function addEnd(address) {
  const url = new URL(location.href);
  const isFirst = !url.searchParams.has("from") || url.searchParams.has("to");
  if (isFirst) url.searchParams.delete("to");
  url.searchParams.set(isFirst ? "from" : "to", `${address}`);
  url.searchParams.set("selected", `${address}`);
  load(url.href, { anchor: address });
}

function listenToGraph() {
  drawing.cy.on("tap", "node.address", ({ target, originalEvent }) => {
    if (originalEvent?.shiftKey) addEnd(target.data("address"));
    else choose(target.data("address"));
  });
  drawing.cy.on("dbltap", "node.address", ({ target }) => toggle(target.data("address"), target.data("hops")));
  drawing.cy.on("tap", "node.stub", ({ target }) =>
    follow(target.data("address"), `a[data-more=${target.data("side")}]`),
  );
  drawing.cy.on("mouseover mouseout", "node, edge", ({ type, target }) => {
    canvas.style.cursor = type === "mouseover" && target.isNode() ? "pointer" : "";
    canvas.title = type === "mouseover" ? (target.data("name") ?? "") : "";
  });
  drawing.cy.on("drag", "node.address", () => placeStubs(drawing.cy));
}

function listenToKeys() {
  canvas.addEventListener("keydown", (event) => {
    const next = nextAddress(drawing.cy, chosen, event.key);
    const zooming = /** @type {Record<string, 1 | -1>} */ ({ "+": 1, "=": 1, "-": -1 })[event.key];
    if (next !== undefined) point(next);
    else if (event.key === "Enter") choose(chosen);
    else if (zooming) drawing.zoom(zooming);
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
  });
  // The wheel scrolls the page over the drawing too. It zooms with Ctrl, or once the drawing has the focus.
  const stage = /** @type {HTMLElement} */ (canvas.parentElement);
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) event.stopPropagation();
    },
    { capture: true },
  );
}

/**
 * Mark an address and say its name, without opening it.
 * @param {number} address
 */
function point(address) {
  mark(address);
  const { name, status } = drawing.view?.nodes.find(({ id }) => id === address) ?? {};
  byId("lineage-said").textContent = `${name}, ${status}`;
}

/** @param {MouseEvent} event */
function isPlain(event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}

function listenToPage() {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[data-view], a[data-select]") : null;
    if (!(link instanceof HTMLAnchorElement) || !isPlain(event)) return;
    event.preventDefault();
    if (link.dataset.select) choose(Number(link.dataset.select));
    else load(withChosen(link), { anchor: anchorOf(link) });
  });
  byId("lineage-list").addEventListener("focusin", (event) => {
    const row = event.target instanceof Element ? event.target.closest("tr[data-address]") : null;
    if (row) mark(Number(row.getAttribute("data-address")));
  });
  addEventListener("popstate", () => load(location.href, { anchor: chosen, push: false }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.recolor());
}

/**
 * The address that keeps its place when a link is followed; none for a link that changes the whole view.
 * @param {HTMLAnchorElement} link
 */
function anchorOf(link) {
  if (link.closest("#lineage-bar")) return undefined;
  const address = link.dataset.anchor ?? link.closest("[data-address]")?.getAttribute("data-address");
  return address ? Number(address) : chosen;
}

/**
 * Put the present selection into a link of the bar, which may be older than the selection.
 * @param {HTMLAnchorElement} link
 */
function withChosen(link) {
  const url = new URL(link.href);
  if (link.closest("#lineage-bar")) url.searchParams.set("selected", `${chosen}`);
  return url.href;
}

function listenToTools() {
  const tools = /** @type {HTMLElement} */ (document.querySelector(".lineage-tools"));
  /** @type {Record<string, () => void>} */
  const actions = {
    in: () => drawing.zoom(1),
    out: () => drawing.zoom(-1),
    fit: () => drawing.fit(),
    png: () => savePng(drawing),
    svg: () => saveSvg(drawing),
  };
  tools.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    actions[button?.dataset.tool ?? ""]?.();
  });
  tools.hidden = false;
}

async function begin() {
  completeSearch();
  const view = readData(document);
  drawing = new Drawing(canvas, await readIcons(canvas.dataset.icons ?? ""));
  await drawing.begin(view);
  minimap = new Minimap(byId("lineage-map"), drawing);
  minimap.begin();
  minimap.show();
  mark(view.selected ?? view.centre, view.selected !== view.centre);
  showNeighbours(chosen);
  listenToGraph();
  listenToKeys();
  listenToPage();
  listenToTools();
  setInterval(refresh, REFRESH_MILLISECONDS);
  canvas.dataset.ready = "true";
}

begin();
