/**
 * The charts of the report. Days are UTC's: each is drawn at the viewer's own midnight, so that the axis names it right.
 */

import { makeChart } from "../chart.js";

/**
 * @typedef {object} Report
 * @property {string[]} days
 * @property {number[]} completed
 * @property {number[]} failed
 * @property {number[]} rows
 */

const HEIGHT = 190;

/** @param {string} day such as 2026-11-22 */
function localMidnight(day) {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  return new Date(year, month - 1, date).getTime() / 1000;
}

/**
 * @param {Report} report
 * @param {string} kind
 * @returns {import("../chart.js").ChartOptions}
 */
function chartOf(report, kind) {
  const days = report.days.map(localMidnight);
  const shared = { height: HEIGHT, sync: "report" };
  if (kind === "rows") {
    return { ...shared, lines: [{ label: "Rows", color: "--accent", points: true }], data: [days, report.rows] };
  }
  return {
    ...shared,
    lines: [
      { label: "Completed", color: "--good", points: true },
      { label: "Failed", color: "--bad", points: true },
    ],
    data: [days, report.completed, report.failed],
  };
}

/** Draw what is on the page and not drawn yet: the summary of a long report comes after the page. */
function drawCharts() {
  const data = document.getElementById("report-data");
  const charts = document.querySelector(".report-charts[hidden]");
  if (!data || !(charts instanceof HTMLElement)) return;
  charts.hidden = false;
  const report = /** @type {Report} */ (JSON.parse(data.textContent ?? "{}"));
  for (const place of charts.querySelectorAll("[data-report]")) {
    if (place instanceof HTMLElement) makeChart(place, chartOf(report, place.dataset.report ?? ""));
  }
}

drawCharts();
document.addEventListener("htmx:afterSettle", drawCharts);
