/**
 * The icons of the drawing, as SVG markup: those of the statuses come from the page's own sprite.
 */

/** @typedef {Map<string, string>} Icons by name, each an `svg` element without place and size */

const GROUPS = [
  {
    words: ["database", "warehouse", "sql"],
    path: "M2.500 4c0-1.200 2.400-2 5.500-2s5.500.8 5.500 2-2.400 2-5.500 2-5.500-.8-5.500-2v8c0 1.200 2.400 2 5.500 2s5.500-.8 5.500-2V4M2.500 8c0 1.200 2.400 2 5.500 2s5.500-.8 5.500-2",
  },
  { words: ["file"], path: "M3.500 1.500h6l3 3v10h-9zM9.500 1.500v3h3" },
  { words: ["storage", "bucket", "lake", "object"], path: "M2 3.500h12l-1.500 10.500h-9zM2.500 7h11" },
  {
    words: ["stream", "queue", "topic", "message"],
    path: "M1.500 5.500c2-2.500 4-2.500 6.500 0s4.500 2.500 6.500 0M1.500 10.500c2-2.500 4-2.500 6.500 0s4.500 2.500 6.500 0",
  },
  { words: ["report", "dashboard", "bi"], path: "M2 14V2M2 14h12M5 11V8M8 11V4.500M11 11V6.500" },
  { words: ["api", "service", "http"], path: "M5 4L1.500 8 5 12M11 4l3.500 4-3.500 4M9 3L7 13" },
];
const ANY = "M2.500 2.500h11v11h-11z";

/**
 * Read the sprite.
 * @param {string} url
 * @returns {Promise<Icons>}
 */
export async function readIcons(url) {
  const answer = await fetch(url);
  const sprite = new DOMParser().parseFromString(await answer.text(), "image/svg+xml");
  /** @type {Icons} */
  const icons = new Map();
  for (const symbol of sprite.querySelectorAll("symbol")) {
    const attributes = [...symbol.attributes].filter(({ name }) => name !== "id");
    const written = attributes.map(({ name, value }) => `${name}="${value}"`).join(" ");
    icons.set(symbol.id, `<svg ${written}>${symbol.innerHTML}</svg>`);
  }
  return icons;
}

/**
 * The icon of a group of address types.
 * @param {string} group
 */
export function groupIcon(group) {
  const path = GROUPS.find(({ words }) => words.some((word) => group.includes(word)))?.path ?? ANY;
  return `<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round"><path d="${path}"/></svg>`;
}

/**
 * An icon at a place.
 * @param {string} icon
 * @param {{x: number, y: number, size: number, color: string}} place
 */
export function placeIcon(icon, { x, y, size, color }) {
  return icon.replace("<svg ", `<svg x="${x}" y="${y}" width="${size}" height="${size}" color="${color}" `);
}
