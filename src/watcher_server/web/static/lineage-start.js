/**
 * The lineage page before an address is chosen.
 */

import { completeSearch } from "./lineage-search.js";

completeSearch();
