// Elements are made here and nowhere else: whatever a dataset says becomes text, never markup.

export const byId = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const { on = {}, data = {}, ...rest } = options;
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name === "class") found.className = value;
    else if (name in found && name !== "list") found[name] = value;
    else found.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(data)) found.dataset[name] = value;
  for (const [name, action] of Object.entries(on)) found.addEventListener(name, action);
  found.append(...children.filter((child) => child !== null && child !== undefined));
  return found;
}

export function drawn(tag, attributes = {}, ...children) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children);
  return found;
}

export const whole = (number) => number.toLocaleString("en");

export function short(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return whole(value);
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 0.001 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

export function cut(text, length) {
  const letters = [...String(text ?? "")];
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : letters.join("");
}

let waiting = 0;
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(waiting);
  waiting = setTimeout(() => { place.hidden = true; }, 2600);
}

export function message(title, detail, ...actions) {
  return make("div", { class: "message" }, make("h2", {}, title),
    ...[].concat(detail ?? []).filter(Boolean).map((line) => make("p", {}, line)),
    actions.length ? make("p", { class: "row" }, ...actions) : null);
}
