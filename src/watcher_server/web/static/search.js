/** The key "/" leads to the search from every page, unless one is writing. */
export function focusSearch() {
  document.addEventListener("keydown", (event) => {
    const writes =
      event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || writes || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = document.querySelector(".masthead input[type=search]");
    if (!(search instanceof HTMLInputElement) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
}
