/**
 * Live parts: an element with `data-live="5"` gets the event `live` every five seconds, which htmx takes as the trigger
 * to fetch it anew. In a hidden tab it is twelve times as seldom, and at once when the tab is seen again.
 */

const HIDDEN_FACTOR = 12;

/** @type {WeakMap<Element, number>} */
const asked = new WeakMap();

/** @param {Element} element */
function isWritten(element) {
  /** @type {NodeListOf<HTMLInputElement | HTMLTextAreaElement>} */
  const fields = element.querySelectorAll("input:not([type=checkbox], [type=hidden]), textarea");
  return [...fields].some((field) => field.value !== field.defaultValue);
}

/** @param {Element} element */
function isBusy(element) {
  // A field in which the viewer is writing or choosing is left alone, and so is what was written and not yet sent.
  if (isWritten(element)) return true;
  const focused = document.activeElement;
  const editing = focused instanceof HTMLElement && focused.matches("input:not([type=checkbox]), select, textarea");
  return element.classList.contains("htmx-request") || (editing && element.contains(focused));
}

/** @param {boolean} now */
function refresh(now) {
  const factor = document.hidden ? HIDDEN_FACTOR : 1;
  for (const element of document.querySelectorAll("[data-live]")) {
    const seconds = Number(element.getAttribute("data-live")) * factor;
    const last = asked.get(element) ?? performance.timeOrigin;
    const due = performance.timeOrigin + performance.now() - last >= seconds * 1000;
    if ((now || due) && !isBusy(element)) {
      asked.set(element, performance.timeOrigin + performance.now());
      htmx.trigger(element, "live");
    }
  }
}

/** Keep what is live on this page alive. */
export function keepLive() {
  // What the viewer has opened stays open.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !(name === "open" && element instanceof HTMLDetailsElement);
  setInterval(() => refresh(false), 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh(true);
  });
}
