// The fleet: every model against every member, who feeds whom, and the members themselves.

import { h, unseen } from "./dom.js";
import { ago, duration, percent, plural, rate, size } from "./format.js";
import { feeding, matrix, pullCount } from "./fleet.js";
import { badge } from "./head.js";

const MEMBERS_MAX = 100; // the lost ones first; distctl peers has all
const LOST = { dead: 0, suspect: 1 };
const STATES = { alive: "good", suspect: "warn", dead: "bad", left: "dim" };

export function fleetMatrix(seen) {
  const { nodes, rows, more } = matrix(seen);
  if (!rows.length) return null;
  return h(
    "section",
    { "data-key": "matrix" },
    h("h2", { id: "matrix-title" }, "Models on nodes"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "matrix-title" },
      h(
        "table",
        { class: "matrix" },
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Model"), h("th", { scope: "col", class: "number" }, "Size"), nodes.map((node) => h("th", { scope: "col", class: "cell" }, node)))),
        h(
          "tbody",
          null,
          rows.map((row) =>
            h(
              "tr",
              { "data-key": row.key },
              h("th", { scope: "row" }, row.repo, row.type === "model" ? null : h("small", null, ` ${row.type}`), row.pinned ? h("small", null, " pinned") : null),
              h("td", { class: "number" }, row.bytes ? size(row.bytes) : ""),
              nodes.map((node) => cell(row.cells.get(node))),
            ),
          ),
        ),
      ),
    ),
    more ? h("p", { class: "key" }, `and ${plural(more, "more model")}: distctl ls --nodes all`) : null,
    h(
      "p",
      { class: "key", "aria-hidden": "true" },
      [["held", "✓", "complete"], ["part", "◐", "a selection"], ["stalled", "!", "stalled"], ["failed", "✕", "failed"], ["none", "–", "not there"], ["unknown", "·", "not known here"]].map(([kind, sign, text]) => h("span", { class: kind }, h("b", null, sign), ` ${text}`)),
    ),
  );
}

function cell(found) {
  if (!found) return h("td", { class: "cell unknown" }, h("span", { "aria-hidden": "true" }, "·"), unseen("not known here"));
  const sign = (text, words) => [h("span", { "aria-hidden": "true" }, text), unseen(words)];
  const share = percent(found.done ?? 0, found.total);
  const content = {
    held: () => sign("✓", "complete"),
    part: () => sign("◐", "a selection of its files"),
    none: () => sign("–", "not there"),
    failed: () => sign("✕", `failed: ${found.reason}`),
    stalled: () => sign(share === null ? "!" : `! ${share} %`, `stalled${share === null ? "" : ` at ${share} %`}: ${found.reason}`),
    waiting: () => [found.state],
    moving: () => [share === null ? found.state : share === 100 ? found.state : `${share} %`],
  }[found.kind]();
  const bar = found.kind === "moving" && share !== null ? h("svg", { class: "fill", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { x: 0, y: 0, width: share, height: 10 })) : null;
  return h("td", { class: `cell ${found.kind}`, title: found.reason ?? null }, bar, h("span", { class: "over" }, content));
}

// Who feeds whom: a row for each node that receives, a column for the Hub and each member that sends.
export function flows(seen) {
  const { nodes, rows, quiet } = feeding(seen);
  if (nodes.length < 2) return null;
  const top = Math.max(1e6, ...rows.flatMap((row) => [row.hub ?? 0, ...row.from.map((value) => value ?? 0)]));
  return h(
    "section",
    { "data-key": "flows" },
    h("h2", { id: "flows-title" }, "Who feeds whom"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "flows-title" },
      h(
        "table",
        { class: "matrix flows" },
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "To"), h("th", { scope: "col", class: "cell" }, "from the Hub"), nodes.map((node) => h("th", { scope: "col", class: "cell" }, `from ${node}`)), h("th", { scope: "col", class: "number" }, "from members so far"))),
        h("tbody", null, rows.map((row) => h("tr", { "data-key": row.receiver }, h("th", { scope: "row" }, row.receiver), flow(row.hub, top, "hub"), row.from.map((value) => flow(value, top, "peers")), h("td", { class: "number" }, row.total === null ? "" : size(row.total))))),
      ),
    ),
    h("p", { class: "key" }, "Rates of the last seconds; bytes since each daemon's start, as sampled. A dot: not known.", quiet ? ` ${plural(quiet, "node")} between which less moves left out.` : ""),
  );
}

// undefined: a node to itself.
function flow(bytesPerS, top, kind) {
  if (bytesPerS === undefined) return h("td", { class: "cell self" });
  if (bytesPerS === null) return h("td", { class: "cell unknown" }, h("span", { "aria-hidden": "true" }, "·"), unseen("not known"));
  if (bytesPerS < 1000) return h("td", { class: "cell none" }, h("span", { "aria-hidden": "true" }, "–"), unseen("nothing"));
  const height = Math.max(4, Math.min(100, (100 * bytesPerS) / top));
  return h(
    "td",
    { class: "cell" },
    h("span", { class: "over" }, rate(bytesPerS)),
    h("svg", { class: "under", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { class: kind, x: 0, y: 0, width: height.toFixed(1), height: 10 })),
  );
}

export function memberTable({ peers, fleet, status, nowMs }) {
  if (peers.length < 2) return null;
  const lost = (peer) => LOST[peer.state] ?? 2;
  const listed = peers.length <= MEMBERS_MAX ? peers : [...peers].sort((a, b) => lost(a) - lost(b)).slice(0, MEMBERS_MAX);
  return h(
    "section",
    { "data-key": "members" },
    h("h2", { id: "members-title" }, "Members"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "members-title" },
      h(
        "table",
        { class: "nodes" },
        h("thead", null, h("tr", null, ["Name", "State", "Zone", "Models", "Disk free", "Pulls", "Fetches from the Hub", "Round trip", "Heard", "Trouble"].map((text, index) => h("th", { scope: "col", class: (index > 2 && index < 6) || index === 7 ? "number" : null }, text)))),
        h(
          "tbody",
          null,
          listed.map((peer) =>
            h(
              "tr",
              { "data-key": peer.name },
              h("th", { scope: "row" }, peer.name, peer.is_self ? h("small", null, " this node") : null),
              h("td", null, badge(STATES[peer.state] ?? "dim", peer.state)),
              h("td", null, peer.zone),
              disk(peer, fleet, status),
              h("td", null, peer.fetches_hub ? "yes" : "no"),
              h("td", { class: "number" }, peer.is_self || peer.rtt_s === null ? "" : `${(peer.rtt_s * 1000).toFixed(1)} ms`),
              h("td", null, peer.is_self ? "" : peer.seen_at ? ago(peer.seen_at, nowMs) : "by others only"),
              h("td", { class: "wrong" }, peer.trouble ?? fleet.find((other) => other.name === peer.name)?.error?.detail ?? skew(peer)),
            ),
          ),
        ),
      ),
    ),
    peers.length > listed.length ? h("p", { class: "key" }, `and ${plural(peers.length - listed.length, "more member")}: distctl peers`) : null,
  );
}

// Of a member that told: what its cache holds, what room is left, how many pulls are active.
function disk(peer, fleet, status) {
  const told = peer.is_self ? status : fleet.find((other) => other.name === peer.name)?.status;
  const cells = told ? [size(told.cache.bytes), size(told.cache.free_bytes), pullCount(told)] : ["", "", ""];
  return cells.map((text) => h("td", { class: "number" }, text));
}

// Members refuse each other's requests at 60 s.
function skew(peer) {
  return peer.clock_skew_s !== null && Math.abs(peer.clock_skew_s) > 5 ? `its clock is ${duration(Math.abs(peer.clock_skew_s))} ${peer.clock_skew_s > 0 ? "ahead" : "behind"}` : "";
}
