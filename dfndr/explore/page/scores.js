// The histogram of one column of numbers, with a threshold that can be moved by hand or by the arrow keys.

import * as api from "./api.js";
import { drawn, make, short, whole } from "./dom.js";

const WIDTH = 240, HEIGHT = 88, STEPS = 1000;

export function scorePanel(about, state, changed) {
  const choose = make("select", { id: "score-column", "aria-label": "Column" }, ...about.numbers.map((name) => make("option", { value: name }, name)));
  const plot = make("div", { class: "plot" });
  const told = make("p", { class: "soft told", id: "score-told" });
  const exact = make("input", { type: "number", step: "any", id: "threshold", "aria-label": "Threshold" });
  const buttons = ["≥", "<"].map((side) => make("button", { class: "plain", disabled: true, title: `Filter: keep what is ${side} this`, on: { click: () => changed("range", choose.value, side, state.at) } }, side));
  const panel = make("section", { class: "panel", id: "scores" }, make("h2", {}, "Scores"), choose, plot,
    make("div", { class: "row" }, exact, make("span", { class: "soft" }, "keep"), ...buttons), told);
  let last = null, asked = 0;

  async function load(showAround) {
    const number = ++asked;
    const found = await api.histogram({ column: choose.value, filter: state.filter() }).catch((error) => error);
    if (number !== asked) return;
    if (found instanceof Error) { plot.replaceChildren(); told.textContent = found.message; return; }
    last = found;
    draw();
    if (showAround) move(found.median);
  }

  function draw() {
    if (!last.counts.length) { plot.replaceChildren(); told.textContent = "No sample has a value here."; return; }
    const [least, most] = [last.edges[0], last.edges.at(-1)];
    const top = Math.max(...last.counts), step = WIDTH / last.counts.length;
    const bars = last.counts.map((count, place) => drawn("rect", { x: place * step + 0.4, width: step - 0.8, y: HEIGHT - height(count, top), height: height(count, top) }));
    const line = drawn("line", { y1: 0, y2: HEIGHT, class: "at" });
    const at = state.at !== null && state.column === choose.value ? state.at : null;
    const slide = make("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": `Threshold of ${choose.value}`, title: "Drag, or use the arrow keys",
      on: { input: () => move(least + (most - least) * Number(slide.value) / STEPS) } });
    slide.value = at === null ? STEPS / 2 : ((at - least) / ((most - least) || 1)) * STEPS;
    plot.replaceChildren(drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars, line), slide,
      make("div", { class: "ends soft" }, make("span", {}, short(least)), make("span", {}, short(most))));
    place(at);
  }

  function place(at) {
    const [least, most] = [last.edges[0], last.edges.at(-1)];
    const x = (((at ?? least) - least) / ((most - least) || 1)) * WIDTH;
    const line = plot.querySelector("line");
    line.setAttribute("x1", x); line.setAttribute("x2", x);
    line.classList.toggle("off", at === null);
    buttons.forEach((button) => { button.disabled = at === null; });
    plot.querySelectorAll("rect").forEach((bar, number) => bar.classList.toggle("below", at !== null && last.edges[number + 1] <= at));
    if (at !== null && document.activeElement !== exact) exact.value = Number(at.toPrecision(5));
    if (at === null) { exact.value = ""; told.textContent = "Move the line to see the samples on either side of it."; }
  }

  function move(at) {
    if (at === null || !Number.isFinite(at)) return;
    state.column = choose.value; state.at = at;
    place(at);
    changed("around", choose.value, null, at);
  }

  choose.addEventListener("change", () => load(state.at !== null));
  exact.addEventListener("change", () => { if (exact.value !== "") move(Number(exact.value)); });
  return {
    panel, load,
    tell(below, above) {
      const all = below + above;
      told.textContent = all ? `${whole(above)} at or above, ${whole(below)} below (${((100 * below) / all).toFixed(1)} %)` : "No sample has a value here.";
    },
    show(column, at) { state.column = column; state.at = at; if (choose.value === column && last) place(at); else { choose.value = column; load(false); } },
    rest() { state.at = null; if (last?.counts.length) place(null); },
  };
}

const height = (count, top) => (count ? Math.max(1.5, (count / top) * (HEIGHT - 4)) : 0);
