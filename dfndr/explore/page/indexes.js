// How far the indexes are that neighbours are found in: asked for as long as one is being made.

import * as api from "./api.js";
import { byId, make, whole } from "./dom.js";

const EVERY_MS = 700;
let waiting = 0, until = 0;

// Ask now and for a while: the server begins with an index by itself, and a search may begin with another one.
export async function watchIndexes(labelOf, beginning = true) {
  clearTimeout(waiting);
  if (beginning) until = performance.now() + 10_000;
  const known = await api.indexes().then((found) => found.indexes, () => []);
  const making = known.filter((one) => one.state === "making");
  byId("making").hidden = making.length === 0;
  byId("making").replaceChildren(...making.map((one) => tell(one, labelOf(one.space))));
  if (making.length || performance.now() < until) waiting = setTimeout(() => watchIndexes(labelOf, false), EVERY_MS);
}

function tell({ done, total, note }, label) {
  const share = total ? Math.floor((100 * done) / total) : 0;
  return make("p", {}, make("span", {}, `Making the index of ${label}: ${note && !done ? note : `${share} % of ${whole(total)} samples`}. Neighbours come after it; everything else is ready.`),
    make("progress", { max: 100, value: share, "aria-label": `Index of ${label}` }));
}
