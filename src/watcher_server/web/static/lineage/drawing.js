/**
 * The drawing of a view, which changes in place from one view to the next.
 */

import cytoscape from "../vendor/cytoscape/cytoscape.esm.min.js";
import dagre from "../vendor/cytoscape-dagre/cytoscape-dagre.esm.min.js";
import { readTones } from "./card.js";
import { cardId, makeElements } from "./elements.js";
import { layOut, placeStubs } from "./layout.js";
import { makeStyle } from "./style.js";

cytoscape.use(dagre);

/** @typedef {import("./elements.js").LineageData} LineageData */

const PADDING = 24;
// Names cannot be read at a smaller zoom, so a wide graph is shown around its centre and not as a whole.
const LEAST_READABLE = 0.42;
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
   */
  async begin(view) {
    this.view = view;
    const elements = [...makeElements(view, this.tones, this.icons).values()];
    this.cy.add(elements.map(({ data, classes }) => ({ data, classes })));
    await layOut(this.cy);
    this.frame();
  }

  /**
   * Change to another view of the same address.
   * @param {LineageData} view
   * @param {number} [anchor] the address that stays where it is; without one, everything is shown anew
   */
  async change(view, anchor) {
    this.view = view;
    const wanted = makeElements(view, this.tones, this.icons);
    const { fresh, moved } = this.#merge(wanted);
    if (!moved) placeStubs(this.cy);
    else if (anchor === undefined) {
      await layOut(this.cy);
      this.frame();
    } else {
      const isShown = this.cy.getElementById(cardId(anchor)).nonempty();
      await layOut(this.cy, { anchor: cardId(isShown ? anchor : view.centre), fresh });
    }
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
    const kept = ["routed", "far", "back", "chosen", "near"].filter((name) => element.hasClass(name));
    element.classes([...classes, ...kept]);
  }

  /** Take over the colours of the page, which may have changed. */
  recolor() {
    this.tones = readTones();
    this.cy.style(makeStyle(this.tones));
    if (this.view) this.#merge(makeElements(this.view, this.tones, this.icons));
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

  /** Show everything, or what can be read of it around the centre. */
  frame() {
    this.cy.fit(undefined, PADDING);
    if (this.cy.zoom() > 1) this.cy.zoom(1).center();
    if (this.cy.zoom() >= LEAST_READABLE || !this.view) return;
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
