/**
 * Saving the drawing as a file.
 */

import { writeSvg } from "./svg.js";

// The largest picture that browsers support.
const MOST_PIXELS = 8000;
const SHARPNESS = 2;

/** @param {import("./drawing.js").Drawing} drawing */
export async function savePng(drawing) {
  const { w, h } = drawing.cy.elements().boundingBox({});
  const scale = Math.min(SHARPNESS, MOST_PIXELS / Math.max(w, h));
  const bg = drawing.tones.panel;
  save(drawing, "png", await drawing.cy.png({ output: "blob-promise", full: true, scale, bg }));
}

/** @param {import("./drawing.js").Drawing} drawing */
export function saveSvg(drawing) {
  const svg = writeSvg(drawing.cy, drawing.tones, `Lineage of ${drawing.view?.name ?? ""}`);
  save(drawing, "svg", new Blob([svg], { type: "image/svg+xml" }));
}

/**
 * @param {import("./drawing.js").Drawing} drawing
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
