/**
 * What every page does besides showing what the server wrote.
 */

import { askFirst } from "./confirm.js";
import { watchConnection } from "./connection.js";
import { keepLive } from "./live.js";
import { focusSearch } from "./search.js";
import { writeTimes } from "./time.js";

const REWRITE_MILLISECONDS = 1000;

writeTimes(document);
setInterval(() => writeTimes(document), REWRITE_MILLISECONDS);
document.addEventListener("htmx:afterSettle", () => writeTimes(document));
askFirst();
watchConnection();
keepLive();
focusSearch();
