/**
 * A small map of the whole drawing, with the part in sight; a click or a drag on it goes there.
 */

export class Minimap {
  /**
   * @param {HTMLElement} frame in which the canvas lies
   * @param {import("./drawing.js").Drawing} drawing
   */
  constructor(frame, drawing) {
    this.frame = frame;
    this.drawing = drawing;
    this.canvas = /** @type {HTMLCanvasElement} */ (frame.querySelector("canvas"));
    // Each way by itself: a drawing may be very tall, and the map is wide.
    this.scale = { x: 1, y: 1 };
    this.origin = { x: 0, y: 0 };
    this.waiting = 0;
  }

  begin() {
    this.drawing.cy.on("viewport position add remove data", () => this.#redraw());
    addEventListener("resize", () => this.#redraw());
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.#go(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) this.#go(event);
    });
  }

  /** Show or hide it, as the view asks. */
  show() {
    const isShown = !this.frame.hidden;
    this.frame.hidden = !this.drawing.view?.isLarge;
    if (isShown === this.frame.hidden) this.drawing.cy.resize();
    this.#redraw();
  }

  #redraw() {
    if (this.frame.hidden || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, drawing } = this;
    const pen = canvas.getContext("2d");
    const { clientWidth: width, clientHeight: height } = canvas;
    const cards = drawing.cy.nodes(".address");
    if (!pen || !width || cards.empty()) return;
    const sharpness = devicePixelRatio || 1;
    Object.assign(canvas, { width: width * sharpness, height: height * sharpness });
    const { x1, y1, w, h } = cards.boundingBox({ includeLabels: false, includeOverlays: false });
    this.scale = { x: width / w, y: height / h };
    this.origin = { x: x1, y: y1 };
    pen.scale(sharpness, sharpness);
    for (const card of cards.toArray()) this.#drawCard(pen, card);
    const sight = drawing.cy.extent();
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.strokeStyle = drawing.tones.accent;
    const [left, top] = [(sight.x1 - x1) * this.scale.x, (sight.y1 - y1) * this.scale.y];
    pen.strokeRect(left, top, sight.w * this.scale.x, sight.h * this.scale.y);
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {import("cytoscape").NodeSingular} card
   */
  #drawCard(pen, card) {
    const { x, y } = card.position();
    const { width, height, color } = card.data();
    pen.globalAlpha = card.hasClass("faded") ? 0.2 : 1;
    pen.fillStyle = color;
    const [left, top] = [x - width / 2 - this.origin.x, y - height / 2 - this.origin.y];
    const [across, down] = [Math.max(2, width * this.scale.x), Math.max(1, height * this.scale.y)];
    pen.fillRect(left * this.scale.x, top * this.scale.y, across, down);
  }

  /** @param {PointerEvent} event */
  #go({ offsetX, offsetY }) {
    const { cy } = this.drawing;
    const x = this.origin.x + offsetX / this.scale.x;
    const y = this.origin.y + offsetY / this.scale.y;
    const zoom = cy.zoom();
    cy.pan({ x: cy.width() / 2 - x * zoom, y: cy.height() / 2 - y * zoom });
  }
}
