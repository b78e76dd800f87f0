// The views of one sample: where they lie on its picture, and each of them drawn from its parameters.

import { thumbnail } from "./api.js";
import { drawn, make, whole } from "./dom.js";

const address = (uid, number) => `/view/${encodeURIComponent(uid)}/${number}`;

export function viewsOf(found, hasPictures) {
  const views = found.views;
  if (!views || (!views.count && !views.problem)) return null;
  if (views.problem) return make("section", { class: "views" }, make("h3", {}, "Views"), make("p", { class: "soft" }, `They cannot be read: ${views.problem}`));
  const boxes = views.boxes.map((box) => boxOf(box));
  const isDrawn = hasPictures && boxes.length > 0; // without the size of its picture nobody knows where a box lies
  const mark = (number, on) => boxes[number]?.classList.toggle("lit", on);
  const tiles = views.said.map((said, number) => tile(found.uid, number, said, isDrawn, mark));
  const more = views.count - views.said.length;
  return make("section", { class: "views" }, make("h3", {}, `Views (${whole(views.count)})`),
    boxes.length ? frame(found.uid, views.aspect, boxes, hasPictures) : null, make("ol", {}, ...tiles),
    more > 0 ? make("p", { class: "soft" }, `${whole(more)} more are not shown.`) : null,
    isDrawn ? make("p", { class: "soft" }, "Drawn from the small picture, so coarser than what the encoders saw.") : null);
}

function boxOf([x, y, width, height]) {
  return drawn("rect", { x: x * 100, y: y * 100, width: width * 100, height: height * 100, "vector-effect": "non-scaling-stroke" });
}

function frame(uid, aspect, boxes, hasPictures) {
  const place = make("div", { class: "frame" }, hasPictures ? make("img", { src: thumbnail(uid), alt: "", draggable: false, on: { error: (event) => event.target.remove() } }) : null,
    drawn("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ...boxes));
  place.style.aspectRatio = String(aspect);
  return place;
}

function tile(uid, number, said, isDrawn, mark) {
  const parts = said.split(", ").map((part) => make("span", {}, part));
  const seen = isDrawn ? make("img", { src: address(uid, number), alt: `View ${number}: ${said}`, loading: "lazy", decoding: "async", draggable: false,
    on: { error: (event) => event.target.replaceWith(make("span", { class: "none" }, "no picture")) } }) : null;
  const light = (on) => () => mark(number, on);
  return make("li", { tabIndex: 0, title: said, on: { mouseenter: light(true), mouseleave: light(false), focus: light(true), blur: light(false) } },
    seen, make("b", {}, String(number)), ...parts);
}
