/**
 * Texts to copy: each `pre.copied` gets a button, where the browser lets a page write the clipboard. Without it one click
 * chooses the whole text.
 */

const SAID_MILLISECONDS = 2000;

/** @param {HTMLElement} text */
function button(text) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  made.textContent = "Copy";
  made.setAttribute("aria-label", `Copy: ${text.getAttribute("aria-label") ?? ""}`);
  made.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent ?? "");
      made.textContent = "Copied";
    } catch {
      made.textContent = "Not copied: choose the text";
    }
    setTimeout(() => {
      made.textContent = "Copy";
    }, SAID_MILLISECONDS);
  });
  return made;
}

/** @type {NodeListOf<HTMLElement>} */
const texts = document.querySelectorAll("pre.copied");
// There is no clipboard without HTTPS, but on the machine itself.
if (navigator.clipboard) for (const text of texts) text.after(button(text));
