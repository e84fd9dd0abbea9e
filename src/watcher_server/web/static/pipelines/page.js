/**
 * Changing pipelines in place: the dialog in which htmx shows the form and what it changes, the choice of rows, and
 * the arrow keys along the bars of the latest runs.
 */

const SELECTED = "#list [name=selected]";
const TICKED = "#list [name=selected], #list [name=everything]";

function editor() {
  const dialog = document.getElementById("editor");
  return dialog instanceof HTMLDialogElement ? dialog : null;
}

/** @param {Event} event */
function showEditor(event) {
  const dialog = editor();
  if (!dialog || event.target !== dialog) return;
  if (!dialog.open) dialog.showModal();
  for (const wanted of ["[aria-invalid]", "[autofocus]", "input:not([type=hidden])", "a"]) {
    const found = dialog.querySelector(wanted);
    if (!(found instanceof HTMLElement)) continue;
    found.focus();
    return;
  }
}

/** @param {Event} event */
function closeEditor(event) {
  const closer = event.target instanceof Element ? event.target.closest("dialog [data-close]") : null;
  if (!closer) return;
  event.preventDefault();
  editor()?.close();
}

/** @returns {HTMLInputElement[]} */
function checkboxes() {
  return [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(SELECTED))];
}

function showSelection() {
  const all = checkboxes();
  const everything = document.querySelector("#list [name=everything]:checked");
  const ticked = all.filter((box) => box.checked).length;
  const count = everything instanceof HTMLElement ? Number(everything.dataset.total) : ticked;
  const shown = document.getElementById("selected-count");
  if (shown) shown.textContent = String(count);
  const selectAll = document.getElementById("select-all");
  if (!(selectAll instanceof HTMLInputElement)) return;
  selectAll.checked = ticked > 0 && ticked === all.length;
  selectAll.indeterminate = ticked > 0 && ticked < all.length;
}

/** @param {Event} event */
function select(event) {
  const box = event.target;
  if (!(box instanceof HTMLInputElement)) return;
  if (box.id === "select-all") for (const one of checkboxes()) one.checked = box.checked;
  if (box.id === "select-all" || ["selected", "everything"].includes(box.name)) showSelection();
}

function showChange() {
  const dialog = editor();
  // The browser gives the focus back to what opened the dialog.
  dialog?.close();
  if (dialog?.hasAttribute("data-reload")) {
    location.reload();
    return;
  }
  for (const box of document.querySelectorAll(TICKED)) if (box instanceof HTMLInputElement) box.checked = false;
  const list = document.getElementById("list");
  if (list) htmx.trigger(list, "live");
}

/** @param {KeyboardEvent} event */
function walkBars(event) {
  const isBack = event.key === "ArrowLeft";
  const bar = event.target instanceof Element ? event.target.closest(".bars a") : null;
  if (!bar || !(isBack || event.key === "ArrowRight")) return;
  event.preventDefault();
  const next = isBack ? bar.previousElementSibling : bar.nextElementSibling;
  if (next instanceof SVGElement) next.focus();
}

document.addEventListener("htmx:afterSwap", showEditor);
document.addEventListener("htmx:afterSettle", showSelection);
document.addEventListener("click", closeEditor);
document.addEventListener("change", select);
document.addEventListener("pipelines-changed", showChange);
document.addEventListener("keydown", walkBars);
showSelection();
