/**
 * The page of one task: shows each change of its state and progress as it happens. Where the stream cannot be had, the
 * page asks every few seconds, as every live part does.
 */

import { root } from "../root.js";

const FINAL = new Set(["SUCCESS", "FAILURE", "REVOKED"]);

/** Load the part of the page about the task again. */
function refresh() {
  const element = document.getElementById("task");
  if (element) htmx.trigger(element, "live");
}

/** @param {string} id */
function follow(id) {
  const stream = new EventSource(`${root}/tasks/${encodeURIComponent(id)}/events`);
  let known = document.getElementById("task")?.dataset.state;
  stream.addEventListener("task", (event) => {
    const { state } = JSON.parse(event.data);
    // The first event has what the page shows already.
    if (known !== state || state === "PROGRESS") refresh();
    known = state;
    // A browser connects again after the end of a stream that is not closed.
    if (FINAL.has(state)) stream.close();
  });
  addEventListener("pagehide", () => stream.close());
}

const task = document.getElementById("task");
if (task?.dataset.task && !FINAL.has(task.dataset.state ?? "")) follow(task.dataset.task);
