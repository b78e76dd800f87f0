// Which samples to look at: words in the text, values of a column, ranges of a number. Holds for every view.

import { make, short, whole } from "./dom.js";

export function filterPanel(about, changed) {
  const chosen = { choices: {}, ranges: {}, words: "" };
  const words = make("input", { type: "search", id: "contains", placeholder: "Text or caption contains", "aria-label": "Text or caption contains", maxLength: 400 });
  let waiting = 0;
  words.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => { chosen.words = words.value; tell(); }, 250); });
  const ranges = make("div", { class: "chips" });
  const clear = make("button", { class: "quiet", id: "clear-filters", hidden: true, on: { click: () => api.clear() } }, "Clear all");
  const groups = Object.entries(about.choices).map(([name, values]) => group(name, values));
  const column = make("select", { "aria-label": "Column of a range" }, make("option", { value: "" }, "Range of …"), ...about.numbers.map((name) => make("option", { value: name }, name)));
  const [least, most] = ["from", "to"].map((name) => make("input", { type: "number", step: "any", placeholder: name, "aria-label": name }));
  const number = (input) => (input.value === "" ? null : Number(input.value));
  const range = make("form", { class: "row range", on: { submit: (event) => {
    event.preventDefault();
    if (column.value && (least.value !== "" || most.value !== "")) { setRange(column.value, number(least), number(most)); least.value = most.value = ""; column.value = ""; }
  } } }, column, least, most, make("button", { class: "plain" }, "Add"));

  function group(name, values) {
    const entries = Object.entries(values);
    const boxes = entries.map(([value, count]) => {
      const box = make("input", { type: "checkbox", on: { change: () => {
        const now = new Set(chosen.choices[name] ?? []);
        if (box.checked) now.add(value); else now.delete(value);
        if (now.size) chosen.choices[name] = [...now]; else delete chosen.choices[name];
        tell();
      } } });
      return make("label", { class: "choice" }, box, make("span", { class: value ? "" : "soft" }, value || "(none)"), make("span", { class: "soft count" }, whole(count)));
    });
    return make("details", { open: ["source", "language"].includes(name) && entries.length < 12 }, make("summary", {}, name), ...boxes);
  }

  function setRange(name, from, to) {
    const [least, most] = chosen.ranges[name] ?? [null, null];
    chosen.ranges[name] = [from ?? least, to ?? most];
    tell();
  }

  function tell() {
    ranges.replaceChildren(...Object.entries(chosen.ranges).map(([name, [from, to]]) => make("button", { class: "chip", title: "Take this away",
      on: { click: () => { delete chosen.ranges[name]; tell(); } } },
    `${from === null ? "" : `${short(from)} ≤ `}${name}${to === null ? "" : ` ≤ ${short(to)}`}`, make("span", { "aria-hidden": "true" }, " ×"))));
    clear.hidden = !api.any();
    changed();
  }

  const api = {
    panel: make("section", { class: "panel", id: "filters" }, make("div", { class: "head" }, make("h2", {}, "Filters"), clear), words, ranges, ...groups, range),
    any: () => Boolean(Object.keys(chosen.choices).length || Object.keys(chosen.ranges).length || chosen.words.trim()),
    json: () => (api.any() ? JSON.stringify(chosen) : ""),
    setRange,
    clear() {
      chosen.choices = {}; chosen.ranges = {}; chosen.words = words.value = "";
      api.panel.querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = false; });
      tell();
    },
  };
  return api;
}
