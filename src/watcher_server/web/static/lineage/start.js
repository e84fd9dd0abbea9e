/**
 * The lineage page before an address is chosen.
 */

import { completeSearch } from "./search.js";

completeSearch();
