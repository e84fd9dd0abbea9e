/** The path that Watcher has on its host, such as /watcher; nothing where it has the host to itself. */
export const root = document.documentElement.dataset.root ?? "";
