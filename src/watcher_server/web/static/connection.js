/**
 * Says so when Watcher does not answer, and since when what is shown is old; goes away by itself.
 */

import { localTime } from "./time.js";

let answered = new Date();

/** @param {boolean} works */
function show(works) {
  const notice = document.getElementById("connection");
  if (!notice) return;
  if (works) answered = new Date();
  const since = notice.querySelector(".since");
  if (since && notice.hidden) since.textContent = localTime(answered);
  notice.hidden = works;
}

/** Watch what htmx gets for answers. */
export function watchConnection() {
  document.addEventListener("htmx:sendError", () => show(false));
  document.addEventListener("htmx:timeout", () => show(false));
  document.addEventListener("htmx:afterRequest", (event) => {
    const status = /** @type {CustomEvent} */ (event).detail.xhr?.status ?? 0;
    // 503 is what the api answers while its database is away.
    if (status) show(status < 500);
  });
}
