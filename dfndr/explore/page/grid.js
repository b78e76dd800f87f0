// Samples as a grid of cards that the arrow keys walk through.

import { thumbnail } from "./api.js";
import { cut, make, short } from "./dom.js";
import { isFlagged, toggle } from "./flags.js";

let hasPictures = true;
export function setPictures(there) { hasPictures = there; }

export function picture(uid, text, size = "small") {
  const place = make("div", { class: `picture ${size}` });
  const words = () => make("span", { class: "words", "aria-hidden": "true" }, cut(text || "no picture, no text", 160));
  if (!hasPictures) { place.append(words()); return place; }
  place.append(make("img", { src: thumbnail(uid), alt: cut(text, 120), loading: size === "small" ? "lazy" : "eager", decoding: "async", draggable: false,
    on: { error: () => place.replaceChildren(words()) } }));
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
