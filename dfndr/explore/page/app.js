// The page: a trail of views (everything, words, a picture, a sample's neighbours, a threshold, spaces side by side).

import * as api from "./api.js";
import { byId, cut, make, message, short, whole } from "./dom.js";
import { filterPanel } from "./filters.js";
import { openFlags, toggle } from "./flags.js";
import { card, mark, picture, setPictures, step } from "./grid.js";
import { watchIndexes } from "./indexes.js";
import { closeSample, openSample, showSample } from "./sample.js";
import { scorePanel } from "./scores.js";

const PAGE = 60, MOST = 1000;
const UID = /^[0-9a-f]{32}$/i;
const pictures = new Map(); // a dropped file cannot be kept in the browser's history, so it is kept here
const state = { about: null, space: null, order: "shuffled", column: null, at: null, trail: [{ kind: "all" }], filter: () => filters?.json() ?? "" };
let filters = null, scores = null, current = null, asking = null;

const top = () => state.trail.at(-1);
const home = () => state.trail[0];

function go(view, { replace = false } = {}) {
  const trail = replace ? [...state.trail.slice(0, -1), view] : [...state.trail, view];
  state.trail = trail.length > 30 ? [home(), ...trail.slice(-29)] : trail;
  history[replace ? "replaceState" : "pushState"]({ trail: state.trail }, "");
  closeSample();
  if (!replace) window.scrollTo(0, 0);
  return render();
}

function goTo(place) {
  state.trail = state.trail.slice(0, place + 1);
  history.pushState({ trail: state.trail }, "");
  closeSample();
  return render();
}

const back = () => { if (state.trail.length > 1) goTo(state.trail.length - 2); };

const actions = {
  get spaces() { return state.about.spaces; },
  get cosines() { return ["words", "picture", "sample", "compare"].includes(top().kind); },
  open: (sample) => { current = sample; light(); showSample(sample, state.about, { ...actions, close: closeSample }); },
  near: (sample, space) => { choose(space, false); go({ kind: "sample", uid: sample.uid, text: sample.text, space }); },
  compare: (sample) => go({ kind: "compare", uid: sample.uid, text: sample.text }),
  focused: (sample) => { current = sample; light(); if (openSample() && openSample().uid !== sample.uid) actions.open(sample); },
};

function light() {
  document.querySelectorAll("#results .card.current").forEach((old) => old.classList.remove("current"));
  if (current) document.querySelector(`#results [data-uid="${CSS.escape(current.uid)}"]`)?.classList.add("current");
}

const titles = {
  all: () => "Everything",
  words: (view) => `“${cut(view.words, 40)}”`,
  picture: (view) => cut(view.name, 30),
  sample: (view) => cut(view.text || view.uid, 30),
  compare: () => "Side by side",
  around: (view) => `${view.column} at ${short(view.at)}`,
};

function drawTrail() {
  const crumbs = state.trail.map((view, place) => {
    const small = view.kind === "sample" || view.kind === "compare" ? picture(view.uid, "", "crumb") : null;
    const last = place === state.trail.length - 1;
    return make("li", {}, make("button", { disabled: last, "aria-current": last ? "page" : "false", on: { click: () => goTo(place) } }, small, make("span", {}, titles[view.kind](view))));
  });
  byId("trail").replaceChildren(make("ol", {}, ...crumbs));
  byId("trail").hidden = crumbs.length < 2;
}

function labelOf(name) { return state.about.spaces.find((space) => space.name === name)?.label ?? name; }

async function render() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking, view = top();
  drawTrail();
  byId("controls").replaceChildren();
  if (view.kind === "around") scores?.show(view.column, view.at); else scores?.rest();
  byId("query").value = view.kind === "words" ? view.words : "";
  document.title = `${titles[view.kind](view)} · ${state.about.name}`;
  byId("results").classList.add("stale");
  const slow = setTimeout(() => { byId("status").textContent = "Still at it: what is needed for the first time, a model or an index, is made ready."; watchIndexes(labelOf); }, 1500);
  signal.addEventListener("abort", () => clearTimeout(slow));
  try {
    await views[view.kind](view, signal);
    light();
  } catch (error) {
    if (error.name === "AbortError") return;
    byId("status").textContent = "";
    const searched = view.kind === "words" || view.kind === "picture";
    const needsModel = searched && ["ModelError", "MissingExtra", "StorageError"].includes(error.told?.kind);
    const lines = [error.told ? error.message : `The page failed: ${error.message}`, error.told?.do];
    if (needsModel) lines.push("Words and pictures need the model that made this space. Neighbours, scores and filters do without it.");
    byId("results").replaceChildren(message(searched ? "This search could not be made" : "This cannot be shown", lines,
      make("button", { class: "plain", on: { click: () => render() } }, "Try again"), state.trail.length > 1 ? make("button", { class: "plain", on: { click: back } }, "Back") : null));
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) byId("results").classList.remove("stale");
  }
}

function nothing() {
  const clear = filters.any() ? make("button", { class: "main-action", on: { click: () => filters.clear() } }, "Clear the filters") : null;
  return message(filters.any() ? "No sample passes these filters" : "There is nothing here", filters.any() ? "Take one away, or clear them all." : "This dataset has no such sample.", ...(clear ? [clear] : []));
}

// A grid that asks for more as long as there is more.
async function listed(ask, tell, signal) {
  const found = await ask(0);
  byId("status").textContent = tell(found.matched) + (found.recall < 1 ? `; about ${Math.round(100 * found.recall)} % of the nearest are found` : "");
  if (!found.samples.length) { byId("results").replaceChildren(nothing()); return; }
  const grid = make("div", { class: "grid" }, ...found.samples.map((sample) => card(sample, actions)));
  const more = make("button", { class: "plain more", hidden: found.samples.length < PAGE, on: { click: async () => {
    more.disabled = true;
    try {
      const next = await ask(grid.childElementCount);
      if (signal.aborted) return;
      grid.append(...next.samples.map((sample) => card(sample, actions)));
      more.hidden = next.samples.length < PAGE;
    } catch (error) { if (error.name !== "AbortError") more.after(message("No more could be fetched", error.message)); }
    more.disabled = false;
  } } }, "Show more");
  byId("results").replaceChildren(grid, more);
}

const among = (matched) => (filters.any() ? `, among ${whole(matched)} of ${whole(state.about.rows)} samples` : `, among ${whole(matched)} samples`);

const views = {
  all: (view, signal) => {
    const order = make("select", { id: "order", "aria-label": "Order", on: { change: () => { state.order = order.value; render(); } } },
      make("option", { value: "shuffled" }, "Shuffled"), make("option", { value: "stored" }, "As stored"),
      ...state.about.numbers.flatMap((name) => [make("option", { value: `-${name}` }, `${name}, highest first`), make("option", { value: `+${name}` }, `${name}, lowest first`)]));
    order.value = state.order;
    byId("controls").replaceChildren(order);
    return listed((start) => api.browse({ order: state.order, start, count: PAGE, filter: state.filter() }, signal),
      (matched) => (filters.any() ? `${whole(matched)} of ${whole(state.about.rows)} samples` : `${whole(matched)} samples`), signal);
  },
  words: (view, signal) => listed((start) => near({ words: view.words, space: view.space, start }, signal),
    (matched) => `Nearest to “${cut(view.words, 60)}” in ${labelOf(view.space)}${among(matched)}`, signal),
  sample: async (view, signal) => {
    await listed((start) => near({ uid: view.uid, space: view.space, start }, signal), (matched) => `Neighbours in ${labelOf(view.space)}${among(matched)}`, signal);
    byId("results").prepend(origin(view));
  },
  picture: async (view, signal) => {
    const file = pictures.get(view.id);
    if (!file) { byId("results").replaceChildren(message("The picture is gone", "The page was loaded again; drop the picture once more.")); return; }
    await listed((start) => api.nearPicture(file, { space: view.space, start, count: Math.min(PAGE, MOST - start), filter: state.filter() }, signal),
      (matched) => `Nearest to your picture in ${labelOf(view.space)}${among(matched)}`, signal);
    const image = make("img", { alt: "Your picture", src: URL.createObjectURL(file), on: { load: () => URL.revokeObjectURL(image.src) } });
    byId("results").prepend(make("div", { class: "origin" }, make("div", { class: "picture" }, image), make("p", {}, view.name)));
  },
  around: async (view, signal) => {
    const found = await api.around({ column: view.column, at: view.at, count: 30, filter: state.filter() }, signal);
    scores.tell(found.below.rows, found.above.rows);
    byId("status").textContent = `${view.column} around ${short(view.at)}`;
    const side = (name, title) => make("section", { class: "half", id: name }, make("h2", {}, title, make("span", { class: "soft" }, ` ${whole(found[name].rows)}`)),
      found[name].samples.length ? make("div", { class: "grid" }, ...found[name].samples.map((sample) => card(sample, actions))) : make("p", { class: "soft" }, "No sample on this side."));
    byId("results").replaceChildren(make("div", { class: "halves" }, side("below", "Just below"), side("above", "At or just above")));
  },
  compare: async (view, signal) => {
    const sides = await Promise.all(state.about.spaces.map(async (space) => {
      try { return { space, found: (await near({ uid: view.uid, space: space.name, start: 0, count: 30 }, signal)).samples }; }
      catch (error) { if (error.name === "AbortError") throw error; return { space, found: [], error }; }
    }));
    const seen = new Map();
    sides.forEach(({ found }) => found.forEach(({ uid }) => seen.set(uid, (seen.get(uid) ?? 0) + 1)));
    const both = [...seen.values()].filter((times) => times > 1).length;
    byId("status").textContent = `The nearest in each space; ${whole(both)} stand in more than one, marked shared`;
    byId("results").replaceChildren(origin(view), make("div", { class: "halves" }, ...sides.map(({ space, found, error }) => make("section", { class: "half", data: { space: space.name } },
      make("h2", {}, space.label), error ? make("p", { class: "soft" }, error.message) : make("div", { class: "grid" }, ...found.map((sample) => {
        const one = card(sample, actions);
        if (seen.get(sample.uid) > 1) { one.classList.add("both"); one.querySelector(".value")?.append(" · shared"); }
        return one;
      }))))));
  },
};

function near(parameters, signal) {
  return api.near({ count: Math.min(PAGE, MOST - parameters.start), filter: state.filter(), ...parameters }, signal);
}

function origin(view) {
  const open = () => actions.open({ uid: view.uid, text: view.text });
  return make("div", { class: "origin" }, make("button", { class: "bare", title: "Open this sample", on: { click: open } }, picture(view.uid, view.text)),
    make("p", {}, cut(view.text || view.uid, 200)),
    state.about.spaces.length > 1 && view.kind === "sample" ? make("button", { class: "plain", on: { click: () => actions.compare(view) } }, "Side by side") : null);
}

// The chosen space holds for the next search; a search at hand is made again in it.
function choose(space, again = true) {
  state.space = space;
  document.querySelectorAll("#spaces button").forEach((button) => button.setAttribute("aria-checked", String(button.dataset.space === space)));
  const view = top();
  if (again && ["words", "picture", "sample"].includes(view.kind) && view.space !== space) go({ ...view, space }, { replace: true });
}

function search(text) {
  const asked = text.trim();
  if (!asked) return goTo(0);
  if (UID.test(asked)) { actions.open({ uid: asked.toLowerCase(), text: "" }); return byId("query").select(); }
  if (!state.space) { byId("results").replaceChildren(message("This dataset has no space to search in", "The filter “contains” finds words in texts.")); return undefined; }
  byId("query").blur();
  return go({ kind: "words", words: asked, space: state.space });
}

function dropped(file) {
  if (!file || !state.space) return;
  const id = `${Date.now()}-${pictures.size}`;
  pictures.set(id, file);
  go({ kind: "picture", id, name: file.name || "A picture", space: state.space });
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) { typing.blur(); return; }
    if (document.body.classList.contains("with-side")) toggleSide(false);
    else if (openSample()) { const { uid } = openSample(); closeSample(); document.querySelector(`#results [data-uid="${CSS.escape(uid)}"]`)?.focus(); }
    else back();
    return;
  }
  if (typing) { if (event.key === "ArrowDown" && typing.id === "query") { event.preventDefault(); step("ArrowDown"); } return; }
  if (event.key === "/") { event.preventDefault(); byId("query").focus(); byId("query").select(); return; }
  if (event.key === "?") { byId("help").showModal(); return; }
  if (event.key.startsWith("Arrow")) { if (step(event.key)) event.preventDefault(); return; }
  if (/^[1-9]$/.test(event.key)) { const space = state.about.spaces[Number(event.key) - 1]; if (space) choose(space.name); return; }
  const sample = openSample() ?? current;
  if (!sample) return;
  if (event.key === "Enter" && event.target.classList?.contains("card")) actions.open(sample);
  if (event.key === "f") toggle(sample.uid, sample.text);
  if (event.key === "n" && state.space) actions.near(sample, state.space);
  if (event.key === "s" && state.about.spaces.length > 1) actions.compare(sample);
}

function toggleSide(open) {
  document.body.classList.toggle("with-side", open);
  byId("open-side").setAttribute("aria-expanded", String(open));
}

function listen() {
  byId("home").addEventListener("click", () => goTo(0));
  byId("search").addEventListener("submit", (event) => { event.preventDefault(); search(byId("query").value); });
  byId("pick").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => { dropped(event.target.files[0]); event.target.value = ""; });
  byId("open-side").addEventListener("click", () => toggleSide(!document.body.classList.contains("with-side")));
  byId("open-help").addEventListener("click", () => byId("help").showModal());
  document.addEventListener("keydown", keys);
  document.addEventListener("paste", (event) => { const file = [...event.clipboardData.files][0]; if (file) { event.preventDefault(); dropped(file); } });
  let inside = 0;
  const hold = (change) => { inside = Math.max(0, inside + change); byId("drop").hidden = inside === 0; };
  document.addEventListener("dragenter", (event) => { if (event.dataTransfer.types.includes("Files")) hold(1); });
  document.addEventListener("dragleave", (event) => { if (event.dataTransfer.types.includes("Files")) hold(-1); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); inside = 0; hold(0); dropped(event.dataTransfer.files[0]); });
  window.addEventListener("popstate", (event) => { state.trail = event.state?.trail ?? [{ kind: "all" }]; closeSample(); render(); });
}

let waiting = 0;
function scoreChanged(what, column, side, at) {
  if (what === "range" && Number.isFinite(at)) { if (side === "≥") filters.setRange(column, at, null); else filters.setRange(column, null, at); return; }
  clearTimeout(waiting);
  waiting = setTimeout(() => { if (Number.isFinite(at)) go({ kind: "around", column, at }, { replace: top().kind === "around" }); }, 120);
}

async function begin() {
  byId("status").textContent = "Opening the dataset …";
  try { state.about = await api.about(); } catch (error) {
    byId("results").replaceChildren(message("The dataset cannot be read", [error.message, error.told?.do]));
    return;
  }
  const { about } = state, modalities = about.spaces.map((space) => space.modality);
  for (const space of about.spaces) space.label = modalities.filter((name) => name === space.modality).length > 1 ? space.name : space.modality;
  setPictures(about);
  byId("name").textContent = about.name;
  byId("size").textContent = whole(about.rows);
  openFlags(about, (uid) => { mark(uid); if (openSample()?.uid === uid) actions.open(openSample()); });
  byId("spaces").replaceChildren(...about.spaces.map((space) => make("button", { type: "button", role: "radio", title: `Look for neighbours in ${space.name}`, data: { space: space.name },
    on: { click: () => choose(space.name) } }, space.label)));
  filters = filterPanel(about, () => { scores?.load(false); render(); });
  if (about.numbers.length) scores = scorePanel(about, state, scoreChanged);
  byId("side").replaceChildren(...(scores ? [scores.panel] : []), filters.panel);
  scores?.load(false);
  const first = about.spaces.find((space) => space.modality === "image") ?? about.spaces[0];
  byId("pick").hidden = !first;
  if (first) choose(first.name, false);
  if (Array.isArray(history.state?.trail) && history.state.trail.every((view) => view.kind in views)) state.trail = history.state.trail;
  listen();
  watchIndexes(labelOf);
  await render();
}

begin();
