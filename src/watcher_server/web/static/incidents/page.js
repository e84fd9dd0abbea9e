/**
 * The pages of incidents: the number of those that are ticked, and the viewer's zone for "tomorrow 09:00".
 */

function showSelection() {
  const shown = document.getElementById("selected-count");
  if (shown) shown.textContent = String(document.querySelectorAll("#incidents [name=selected]:checked").length);
}

/** @param {Event} event */
function sendZone({ target: form }) {
  if (!(form instanceof HTMLFormElement)) return;
  const zone = form.elements.namedItem("zone");
  if (zone instanceof HTMLInputElement) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

document.addEventListener("change", showSelection);
document.addEventListener("htmx:afterSettle", showSelection);
document.addEventListener("submit", sendZone, { capture: true });
showSelection();
