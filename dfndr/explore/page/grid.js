// Samples as a grid of cards that the arrow keys walk through.

import { thumbnail } from "./api.js";
import { cut, make, short } from "./dom.js";
import { isFlagged, toggle } from "./flags.js";

const AGAIN_MS = [300, 700, 1500, 3000, 6000, 12000]; // a picture of the pool is looked for meanwhile
let hasPictures = true;
let pooled = false;
export function setPictures(about) { hasPictures = about.thumbnails; pooled = about.pooled; }

export function picture(uid, text, size = "small") {
  const place = make("div", { class: `picture ${size}` });
  const words = () => make("span", { class: "words", "aria-hidden": "true" }, cut(text || "no picture, no text", 160));
  if (!hasPictures) { place.append(words()); return place; }
  const image = (again) => make("img", { loading: size === "small" && !again ? "lazy" : "eager", decoding: "async", alt: cut(text, 120), draggable: false,
    on: { load: (event) => { if (again) place.replaceChildren(event.target); }, error: () => missed(again) }, src: thumbnail(uid) });
  const missed = (again) => {
    if (!again) place.replaceChildren(words());
    if (pooled && again < AGAIN_MS.length) setTimeout(() => { if (place.isConnected) image(again + 1); }, AGAIN_MS[again]);
  };
  place.append(image(0));
  return place;
}

export function card(sample, actions) {
  const { uid, text, value } = sample;
  const flag = make("button", { class: "flag", tabIndex: -1, title: "Flag (f)", "aria-label": "Flag",
    "aria-pressed": String(isFlagged(uid)), on: { click: (event) => { event.stopPropagation(); toggle(uid, text); } } });
  const near = actions.spaces.map((space) => make("button", { tabIndex: -1, title: `Neighbours in ${space.name}`, data: { space: space.name },
    on: { click: (event) => { event.stopPropagation(); actions.near(sample, space.name); } } }, `≈ ${space.label}`));
  return make("article", { class: "card", tabIndex: 0, data: { uid }, "aria-label": cut(text || uid, 120),
    on: { click: () => actions.open(sample), focus: () => actions.focused(sample) } },
  picture(uid, text), flag, value === null || value === undefined ? null : make("span", { class: "value" }, actions.cosines ? value.toFixed(4) : told(value)),
  make("p", { class: text ? "" : "soft" }, text ? cut(text, 220) : "no text"), make("div", { class: "near" }, ...near));
}

// Values that stand side by side have the same number of digits.
const told = (value) => (!Number.isInteger(value) && Math.abs(value) < 10 ? value.toFixed(4) : short(value));

export function mark(uid) {
  for (const found of document.querySelectorAll(`[data-uid="${CSS.escape(uid)}"]`)) {
    found.querySelector(".flag")?.setAttribute("aria-pressed", String(isFlagged(uid)));
  }
}

export function step(direction) {
  const cards = [...document.querySelectorAll("#results .card")];
  if (!cards.length) return null;
  const here = cards.indexOf(document.activeElement?.closest?.(".card") ?? document.querySelector("#results .card.current"));
  let target = cards[0];
  if (here >= 0) {
    const now = cards[here].getBoundingClientRect();
    if (direction === "ArrowLeft" || direction === "ArrowRight") {
      target = cards[here + (direction === "ArrowRight" ? 1 : -1)];
    } else {
      // The card of the next line that lies closest below or above this one.
      const down = direction === "ArrowDown" ? 1 : -1;
      const gap = (other) => { const box = other.getBoundingClientRect(); return [(box.top - now.top) * down, Math.abs(box.left - now.left)]; };
      target = cards.filter((other) => gap(other)[0] > 4).sort((a, b) => {
        const [x, y] = [gap(a), gap(b)];
        return x[0] - y[0] || x[1] - y[1];
      })[0];
    }
  }
  if (!target) return null;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest" });
  return target;
}
