// The questions that the server answers.

import { byId } from "./dom.js";

export class Refused extends Error {
  constructor(told) {
    super(told.where ? `${told.where}: expected ${told.expected}, found ${told.found}.` : told.text);
    this.told = told;
  }
}

let open = 0;
function busy(change) {
  open += change;
  byId("busy").hidden = open === 0;
}

async function ask(path, parameters, options = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  busy(1);
  try {
    let answer;
    try {
      answer = await fetch(`${path}?${query}`, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused({ text: "The server does not answer.", do: "Start `dfndr explore` again, then load this page again." });
    }
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Refused(told.error ?? { text: `The server could not answer (${answer.status}).`, do: "Its terminal says more." });
    }
    return told;
  } finally {
    busy(-1);
  }
}

export const about = () => ask("/api/about", {});
export const indexes = () => fetch("/api/indexes").then((answer) => (answer.ok ? answer.json() : { indexes: [] }));
export const browse = (parameters, signal) => ask("/api/browse", parameters, { signal });
export const near = (parameters, signal) => ask("/api/near", parameters, { signal });
export const nearPicture = (picture, parameters, signal) =>
  ask("/api/near", parameters, { method: "POST", body: picture, headers: { "content-type": "application/octet-stream" }, signal });
export const histogram = (parameters) => ask("/api/histogram", parameters);
export const around = (parameters, signal) => ask("/api/around", parameters, { signal });
export const sample = (uid) => ask(`/api/sample/${encodeURIComponent(uid)}`, {});
export const alike = (uid) => ask(`/api/alike/${encodeURIComponent(uid)}`, {});
export const thumbnail = (uid) => `/thumbnail/${encodeURIComponent(uid)}`;
