/**
 * The charts of a pipeline: drawn when they come into view, at first without what was expected, which takes longer.
 */

import { zoneName } from "../../time.js";
import { MetricChart } from "./chart.js";
import { readSeries } from "./data.js";

/** @typedef {import("./data.js").Series} Series */

/**
 * @param {HTMLElement} element
 * @param {Series} series
 */
function show(element, series) {
  const chart = new MetricChart(element, series);
  if (element.dataset.ruled === "yes") chart.expect();
}

/** @param {Series} series */
function drawInView(series) {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting || !(entry.target instanceof HTMLElement)) continue;
        observer.unobserve(entry.target);
        show(entry.target, series);
      }
    },
    { rootMargin: "100px" },
  );
  for (const element of document.querySelectorAll(".chart[data-metric]")) observer.observe(element);
}

/** Mark the link of the anomaly that is open, and no other. */
function markLinks() {
  const shown = new URL(location.href).searchParams.get("anomaly");
  /** @type {NodeListOf<HTMLElement>} */
  const links = document.querySelectorAll("a[data-anomaly]");
  for (const link of links) link.setAttribute("aria-current", String(link.dataset.anomaly === shown));
}

/** @param {Event} event */
function openOne({ target: opened }) {
  if (!(opened instanceof HTMLElement) || !opened.classList.contains("behind")) return;
  for (const other of document.querySelectorAll(".behind")) if (other !== opened) other.replaceChildren();
  markLinks();
  const panel = opened.querySelector(".anomaly");
  if (!(panel instanceof HTMLElement)) return;
  panel.scrollIntoView({ block: "nearest" });
  panel.focus({ preventScroll: true });
}

const series = readSeries();
if (series) drawInView(series);
for (const zone of document.querySelectorAll("[data-zone]")) zone.textContent = zoneName();
// One anomaly at a time: what was open is closed, and the focus goes to the numbers.
document.addEventListener("htmx:afterSettle", openOne);
