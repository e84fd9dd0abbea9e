/**
 * The axis of the tree in the viewer's zone; UTC stays where one hovers.
 */

import { localTime } from "../time.js";

/**
 * @param {Date} moment
 * @param {string | undefined} shows
 */
function shortTime(moment, shows) {
  const [day = "", clock = ""] = localTime(moment).split(" ");
  if (shows === "day") return day;
  return shows === "second" ? `${clock}:${String(moment.getUTCSeconds()).padStart(2, "0")}` : clock;
}

function writeTicks() {
  for (const tick of document.querySelectorAll("text[data-at]")) {
    if (!(tick instanceof SVGTextElement)) continue;
    const shown = tick.querySelector("tspan");
    if (shown) shown.textContent = shortTime(new Date(tick.dataset.at ?? ""), tick.dataset.shows);
  }
}

writeTicks();
document.addEventListener("htmx:afterSettle", writeTicks);
