/**
 * Saving the drawing as a file.
 */

import { Drawing } from "./drawing.js";
import { wholePlan } from "./plan.js";
import { writeSvg } from "./svg.js";

// The largest picture that browsers support.
const MOST_PIXELS = 8000;
const SHARPNESS = 2;

/** @param {Drawing} drawing */
export function savePng(drawing) {
  return withWholeNames(drawing, async ({ cy, tones }) => {
    const { w, h } = cy.elements().boundingBox({});
    const scale = Math.min(SHARPNESS, MOST_PIXELS / Math.max(w, h));
    save(drawing, "png", await cy.png({ output: "blob-promise", full: true, scale, bg: tones.panel }));
  });
}

/** @param {Drawing} drawing */
export function saveSvg(drawing) {
  return withWholeNames(drawing, async ({ cy, tones }) => {
    const svg = writeSvg(cy, tones, `Lineage of ${drawing.view?.name ?? ""}`);
    save(drawing, "svg", new Blob([svg], { type: "image/svg+xml" }));
  });
}

/**
 * Use the drawing, or where it cuts names, one of the same view that does not.
 * @param {Drawing} drawing
 * @param {(whole: Drawing) => Promise<void>} use
 */
async function withWholeNames(drawing, use) {
  if (!drawing.isCut || !drawing.view) return use(drawing);
  const place = document.createElement("div");
  place.className = "lineage-aside";
  document.body.append(place);
  const whole = new Drawing(place, drawing.icons);
  try {
    await whole.begin(drawing.view, wholePlan(drawing.view.nodes));
    await use(whole);
  } finally {
    whole.cy.destroy();
    place.remove();
  }
}

/**
 * @param {Drawing} drawing
 * @param {string} kind
 * @param {Blob} content
 */
function save(drawing, kind, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = `lineage-of-${fileName(drawing.view?.name ?? "")}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/**
 * A name that every file system accepts.
 * @param {string} name
 */
function fileName(name) {
  return (
    name
      .replace(/[^\p{L}\p{N}._-]+/gu, "-")
      .replace(/^[-.]+|[-.]+$/g, "")
      .slice(0, 100) || "address"
  );
}
