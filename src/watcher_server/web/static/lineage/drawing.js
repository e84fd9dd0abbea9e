/**
 * The drawing of a view, which changes in place from one view to the next.
 */

import cytoscape from "../vendor/cytoscape/cytoscape.esm.min.js";
import dagre from "../vendor/cytoscape-dagre/cytoscape-dagre.esm.min.js";
import { CARD, readTones, widthForFooters } from "./card.js";
import { cardId, makeElements } from "./elements.js";
import { layOut, placeStubs, zoomOf } from "./layout.js";
import { plansFor } from "./plan.js";
import { makeStyle } from "./style.js";

cytoscape.use(dagre);

/** @typedef {import("./elements.js").LineageData} LineageData */

const PADDING = 24;
// Names are read without effort at this zoom.
const WELL_READABLE = 0.95;
const MOST_ZOOM = 1.25;
// Names cannot be read at a smaller zoom, so of very many addresses those around the centre are shown first.
const LEAST_READABLE = 0.75;
const ZOOM_STEP = 1.3;

export class Drawing {
  /**
   * @param {HTMLElement} container
   * @param {import("./icons.js").Icons} icons
   */
  constructor(container, icons) {
    this.icons = icons;
    this.tones = readTones();
    /** @type {LineageData | undefined} */
    this.view = undefined;
    /** @type {import("./plan.js").Plan} */
    this.plan = { direction: "LR", gap: 140, size: { width: CARD.usual, lines: 1 } };
    this.cy = cytoscape({
      container,
      style: makeStyle(this.tones),
      minZoom: 0.04,
      maxZoom: 2.5,
      autounselectify: true,
      boxSelectionEnabled: false,
    });
  }

  /**
   * Draw a view for the first time.
   * @param {LineageData} view
   * @param {import("./plan.js").Plan} [plan] the one that fits best without it
   */
  async begin(view, plan) {
    this.view = view;
    this.cy.add([...this.#elements(view).values()].map(({ data, classes }) => ({ data, classes })));
    await this.#arrange(view, plan);
    this.frame();
  }

  /**
   * Change to another view of the same address.
   * @param {LineageData} view
   * @param {number} [anchor] the address that stays where it is; without one, everything is shown anew
   */
  async change(view, anchor) {
    const standsOut = (/** @type {LineageData | undefined} */ of) => of?.nodes.filter(({ faded }) => !faded).length;
    const isNarrowed = standsOut(view) !== standsOut(this.view);
    this.view = view;
    const { fresh, moved } = this.#merge(this.#elements(view));
    if (!moved) {
      placeStubs(this.cy);
      if (isNarrowed) this.frame();
    } else if (anchor === undefined) {
      await this.#arrange(view);
      this.frame();
    } else {
      const isShown = this.cy.getElementById(cardId(anchor)).nonempty();
      await layOut(this.cy, this.plan, { anchor: cardId(isShown ? anchor : view.centre), fresh });
    }
  }

  /** Whether a name or a type does not stand whole on its card. */
  get isCut() {
    const isNameCut = this.cy.nodes(".address").some((card) => card.data("label").includes("…"));
    return isNameCut || widthForFooters(this.view?.nodes ?? []) > this.plan.size.width;
  }

  /** @param {LineageData} view */
  #elements(view) {
    return makeElements(view, { tones: this.tones, icons: this.icons, size: this.plan.size });
  }

  /**
   * Lay everything out by the first plan by which it fits and can be read, else by the one that leaves it the largest.
   * @param {LineageData} view
   * @param {import("./plan.js").Plan} [given]
   */
  async #arrange(view, given) {
    const plans = given ? [given] : plansFor(view.nodes.map(({ name }) => name));
    let best = -1;
    for (const plan of plans.length > 1 ? plans : []) {
      const zoom = Math.min(zoomOf(this.cy, plan, PADDING), WELL_READABLE);
      if (zoom > best) [best, this.plan] = [zoom, plan];
      if (zoom === WELL_READABLE) break;
    }
    if (plans.length === 1) this.plan = /** @type {import("./plan.js").Plan} */ (plans[0]);
    this.#merge(this.#elements(view));
    await layOut(this.cy, this.plan);
  }

  /** @param {Map<string, import("./elements.js").Element>} wanted */
  #merge(wanted) {
    const gone = this.cy.elements().filter((element) => !wanted.has(element.id()));
    const fresh = [...wanted.values()].filter(({ data }) => this.cy.getElementById(data.id).empty());
    this.cy.batch(() => {
      gone.remove();
      for (const { data, classes } of wanted.values()) this.#update(data, classes);
      this.cy.add(fresh.map(({ data, classes }) => ({ data, classes })));
    });
    return { fresh: new Set(fresh.map(({ data }) => data.id)), moved: gone.nonempty() || fresh.length > 0 };
  }

  /**
   * @param {Record<string, any>} data
   * @param {string[]} classes
   */
  #update(data, classes) {
    const element = this.cy.getElementById(data.id);
    if (element.empty()) return;
    const { id: _id, source: _source, target: _target, ...changeable } = data;
    element.data(changeable);
    const kept = ["routed", "down", "far", "back", "unnamed", "chosen", "near"].filter((name) =>
      element.hasClass(name),
    );
    element.classes([...classes, ...kept]);
  }

  /** Take over the colours of the page, which may have changed. */
  recolor() {
    this.tones = readTones();
    this.cy.style(makeStyle(this.tones));
    if (this.view) this.#merge(this.#elements(this.view));
    placeStubs(this.cy);
  }

  /**
   * Mark an address with its edges and neighbours.
   * @param {number} address
   * @param {boolean} reveal whether to bring it into sight
   */
  mark(address, reveal) {
    const card = this.cy.getElementById(cardId(address));
    this.cy.batch(() => {
      this.cy.elements(".chosen, .near").removeClass("chosen near");
      card.addClass("chosen");
      card.connectedEdges().addClass("near");
    });
    if (reveal && card.nonempty()) this.#reveal(card);
  }

  /** @param {import("cytoscape").CollectionReturnValue} card */
  #reveal(card) {
    const box = card.renderedBoundingBox({});
    const outside = box.x1 < 0 || box.y1 < 0 || box.x2 > this.cy.width() || box.y2 > this.cy.height();
    if (outside) this.cy.center(card);
  }

  /** Show everything that stands out; of very many addresses, what can be read around the centre. */
  frame() {
    const shown = this.cy.nodes().not(".faded");
    this.cy.fit(shown.nonempty() ? shown : undefined, PADDING);
    if (this.cy.zoom() > MOST_ZOOM) this.cy.zoom(MOST_ZOOM).center(shown);
    if (this.cy.zoom() >= LEAST_READABLE || !this.view?.isLarge) return;
    this.cy.zoom(LEAST_READABLE);
    this.cy.center(this.cy.getElementById(cardId(this.view.centre)));
  }

  /** Show everything. */
  fit() {
    this.cy.fit(undefined, PADDING);
  }

  /** @param {1 | -1} direction nearer or farther */
  zoom(direction) {
    const level = this.cy.zoom() * ZOOM_STEP ** direction;
    this.cy.zoom({ level, renderedPosition: { x: this.cy.width() / 2, y: this.cy.height() / 2 } });
  }
}
