// The duplicates of a sample: exact and near ones in the dataset, and those that the build dropped because of it.

import * as api from "./api.js";
import { cut, make, short, whole } from "./dom.js";
import { picture } from "./grid.js";

export function duplicatesOf(uid, dropped, open) {
  const list = make("div", { class: "alike" }, make("p", { class: "soft" }, "Looking among its nearest …"));
  api.alike(uid).then(({ samples }) => list.replaceChildren(...(samples.length ? samples.map((one) => entry(one, open)) : [make("p", { class: "soft" }, "None in this dataset.")])),
    (error) => list.replaceChildren(make("p", { class: "soft" }, error.message)));
  return make("section", { id: "duplicates" }, make("h3", {}, "Duplicates"), list, droppedFor(dropped));
}

function entry(one, open) {
  return make("button", { class: `duplicate ${one.exact ? "exact" : ""}`, data: { duplicate: one.uid }, title: "Open this sample", on: { click: () => open(one) } },
    picture(one.uid, one.text), make("span", {}, make("b", {}, one.exact ? "Exact" : "Near"), ` ${one.why}`, make("span", { class: "soft" }, cut(one.text || one.uid, 90))));
}

function droppedFor(dropped) {
  if (!dropped?.rows) return null;
  const say = { same_image: "same image file", same_text: "same text", near_duplicate: "near duplicate", semantic_duplicate: "close in its space" };
  const all = dropped.rows > dropped.samples.length ? `; the ${dropped.samples.length} closest` : "";
  return make("details", {}, make("summary", {}, `Stands for ${whole(dropped.rows)} that the build dropped${all}`), make("ul", { class: "dropped" },
    ...dropped.samples.map((one) => make("li", {}, `${say[one.reason] ?? one.reason}, distance ${short(one.distance)} `, make("code", {}, one.uid)))));
}
