// One sample: its picture, its text and captions, and every field that the dataset has of it.

import { duplicatesOf } from "./alike.js";
import * as api from "./api.js";
import { byId, make, message, short, toast } from "./dom.js";
import { isFlagged, toggle } from "./flags.js";
import { picture } from "./grid.js";
import { viewsOf } from "./views.js";

let shown = null;
export const openSample = () => shown;

export function closeSample() {
  shown = null;
  byId("sample").hidden = true;
  document.body.classList.remove("with-sample");
}

export async function showSample(sample, about, actions) {
  const place = byId("sample");
  shown = sample;
  place.hidden = false;
  document.body.classList.add("with-sample");
  place.scrollTop = 0;
  const close = make("button", { class: "quiet round end", title: "Close (Esc)", "aria-label": "Close", on: { click: actions.close } }, "×");
  place.replaceChildren(make("div", { class: "head" }, make("h2", {}, "Sample"), close), picture(sample.uid, sample.text, "large"));
  let found;
  try { found = await api.sample(sample.uid); } catch (error) {
    if (shown?.uid === sample.uid) place.append(message("This sample cannot be shown", [error.message, error.told?.do]));
    return;
  }
  if (shown?.uid !== sample.uid) return;
  const { fields, split, spaces } = found;
  const flag = make("button", { class: "plain", id: "sample-flag" });
  const name = () => { flag.textContent = isFlagged(found.uid) ? "Flagged ✓" : "Flag"; flag.setAttribute("aria-pressed", String(isFlagged(found.uid))); };
  flag.addEventListener("click", () => { toggle(found.uid, sample.text); name(); });
  name();
  const near = about.spaces.filter((space) => spaces.includes(space.name)).map((space) => make("button", { class: "main-action", data: { space: space.name },
    on: { click: () => actions.near(sample, space.name) } }, `≈ ${space.label}`));
  const compare = near.length > 1 ? make("button", { class: "plain", id: "compare", on: { click: () => actions.compare(sample) } }, "Side by side") : null;
  place.append(...[make("p", { class: "text" }, fields.text || "no text"), captionsOf(fields),
    make("div", { class: "row" }, ...near, compare, flag),
    near.length ? null : make("p", { class: "soft" }, "No space holds a vector of this sample."),
    make("div", { class: "row uid" }, make("code", {}, found.uid), make("button", { class: "quiet", on: { click: () => copy(found.uid) } }, "Copy")),
    duplicatesOf(found.uid, found.dropped, actions.open), viewsOf(found, about.thumbnails), table({ split }, fields, about)].filter(Boolean));
}

async function copy(uid) {
  try { await navigator.clipboard.writeText(uid); toast("Copied"); } catch { toast(uid); }
}

function captionsOf(fields) {
  const captions = fields.captions ?? [];
  if (!captions.length) return "";
  return make("section", {}, make("h3", {}, "Captions"), make("ol", { class: "captions" }, ...captions.map((caption, place) => make("li", {}, String(caption),
    make("span", { class: "soft" }, [fields.caption_scores?.[place], fields.caption_models?.[place]].filter((value) => value !== undefined && value !== null).map(short).join(" · "))))));
}

function table(first, fields, about) {
  const left = ["uid", "text", "captions", "caption_models", "caption_scores", "views"];
  const named = { ...first, ...Object.fromEntries(Object.entries(fields).filter(([name]) => !left.includes(name))) };
  const entries = Object.entries(named);
  const isScore = ([name]) => about.scores.includes(name);
  const empty = ([, value]) => value === null || value === "";
  const row = ([name, value]) => [make("dt", { title: name }, name), make("dd", { title: String(value) }, typeof value === "object" ? JSON.stringify(value) : short(value))];
  const full = [...entries.filter(isScore), ...entries.filter((entry) => !isScore(entry))].filter((entry) => !empty(entry));
  const none = entries.filter(empty).map(([name]) => name);
  return make("section", {}, make("h3", {}, "Fields"), make("dl", { class: "fields" }, ...full.flatMap(row)),
    none.length ? make("p", { class: "soft" }, `Empty: ${none.join(", ")}`) : "");
}
