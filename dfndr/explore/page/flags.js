// The list of flagged samples: kept by this browser for this dataset, saved as the text file that `dfndr remove` and `[select] exclude` read.

import { byId, cut, make, toast, whole } from "./dom.js";
import { picture } from "./grid.js";

let key = "";
let flagged = new Map(); // uid -> text, in the order they were flagged
let changed = () => {};
let dataset = {};

export function openFlags(about, onChange) {
  dataset = about;
  key = `dfndr-flags-${about.digest}`;
  changed = onChange;
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? "[]");
    flagged = new Map(kept.filter((pair) => Array.isArray(pair) && /^[0-9a-f]{32}$/.test(pair[0])));
  } catch { flagged = new Map(); }
  byId("open-flags").addEventListener("click", show);
  count();
}

export const isFlagged = (uid) => flagged.has(uid);

export function toggle(uid, text) {
  if (!flagged.delete(uid)) flagged.set(uid, cut(text, 200));
  keep();
  changed(uid);
}

function keep() {
  try { localStorage.setItem(key, JSON.stringify([...flagged])); }
  catch { toast("This browser does not keep the list: download it before you close the page."); }
  count();
}

function count() { byId("flag-count").textContent = whole(flagged.size); }

const file = () => `${dataset.name}-flags.txt`;
const listed = () => [...flagged.keys()].map((uid) => `${uid}\n`).join("");

function download() {
  const head = `# ${flagged.size} flagged samples of ${dataset.name}, ${dataset.digest}\n`;
  const url = URL.createObjectURL(new Blob([head, listed()], { type: "text/plain" }));
  make("a", { href: url, download: file() }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(listed());
    toast(`${whole(flagged.size)} uids copied`);
  } catch { toast("This browser did not let the page copy: download the list."); }
}

function clear() {
  const uids = [...flagged.keys()];
  flagged = new Map();
  keep();
  uids.forEach(changed);
  show();
}

export function show() {
  const dialog = byId("flags");
  const rows = [...flagged].reverse().map(([uid, text]) => make("li", {},
    picture(uid, text), make("div", {}, make("p", {}, text || "no text"), make("code", {}, uid)),
    make("button", { class: "quiet", title: "Take the flag off", on: { click: () => { toggle(uid, text); show(); } } }, "Unflag")));
  const none = rows.length === 0;
  dialog.replaceChildren(...[
    make("h2", {}, none ? "Nothing is flagged" : `${whole(rows.length)} flagged`),
    make("p", { class: "soft" }, none ? "Press f on a sample, or the mark in its corner. The list stays in this browser."
      : "Save the list. One command takes these samples out of this dataset; named in its recipe, the list keeps them out of the next build."),
    none ? null : make("pre", {}, `dfndr remove ${dataset.name} --uids ${file()}\n[select] exclude = ["${file()}"]`),
    make("ul", { class: "flagged" }, ...rows.slice(0, 500)),
    make("p", { class: "row" },
      make("button", { class: "main-action", id: "download", disabled: none, on: { click: download } }, "Download .txt"),
      make("button", { class: "plain", disabled: none, on: { click: copy } }, "Copy uids"),
      make("button", { class: "plain", disabled: none, on: { click: clear } }, "Clear"),
      make("button", { class: "plain end", on: { click: () => dialog.close() } }, "Close"))].filter(Boolean));
  if (!dialog.open) dialog.showModal();
}
