// Pulls: the active ones as cards that answer "when is it ready?", the finished ones as a list.

import { sourceBar } from "./charts.js";
import { h } from "./dom.js";
import { ago, duration, limitWord, percent, plural, pullName, range, rate, size } from "./format.js";
import { FINISHED, copies, stalls, whole } from "./fleet.js";
import { badge } from "./head.js";

const KINDS = { complete: "good", failed: "bad", cancelled: "dim", paused: "warn", queued: "dim" };
const HISTORY_MAX = 12; // what fits a screen; distctl pulls has all

export const stateBadge = (state, isStalled) => badge(isStalled ? "warn" : (KINDS[state] ?? "busy"), isStalled ? "stalled" : state);

export function activePulls({ active, mayChange }) {
  return h(
    "section",
    { "data-key": "pulls", "aria-labelledby": "pulls-title" },
    h("h2", { id: "pulls-title" }, "Pulls"),
    active.length ? active.map((pull) => card(pull, mayChange)) : h("p", { class: "empty" }, "Nothing is being pulled. ", h("code", null, "distctl pull org/name"), " starts one."),
  );
}

function card(pull, mayChange) {
  const all = whole(pull);
  const waits = stalls(pull);
  const share = percent(all.bytes_done, all.bytes_total);
  const times = copies(pull);
  const ready = pull.nodes.filter((node) => node.state === "complete").length;
  return h(
    "article",
    { class: "card", "data-key": `${pull.type}/${pull.repo}@${pull.revision}`, "aria-label": pullName(pull) },
    h(
      "div",
      { class: "card-head" },
      h("h3", null, pullName(pull)),
      pull.type === "model" ? null : badge("dim", pull.type),
      stateBadge(pull.state, waits.length > 0 && pull.nodes.length <= 1),
      h("span", { class: "grow" }),
      mayChange && !pull.foreign ? buttons(pull) : null,
    ),
    h("p", { class: "answer" }, ...answer(pull, all, waits)),
    sourceBar(all, `${pullName(pull)}, done`),
    h(
      "ul",
      { class: "facts" },
      h("li", null, h("strong", null, share === null ? size(all.bytes_done) : `${share} %`), all.bytes_total ? ` ${size(all.bytes_done)} of ${size(all.bytes_total)}` : ""),
      h("li", { class: "hub" }, `Hub ${size(all.bytes_from_hub)}`, all.rate_hub_bytes_per_s ? ` at ${rate(all.rate_hub_bytes_per_s)}` : ""),
      h("li", { class: "peers" }, `Members ${size(all.bytes_from_peers)}`, all.rate_peers_bytes_per_s ? ` at ${rate(all.rate_peers_bytes_per_s)}` : ""),
      all.bytes_reused ? h("li", { class: "reused" }, `Held before ${size(all.bytes_reused)}`) : null,
      times ? h("li", null, `${times.toFixed(2)} copies from the Hub so far, for ${plural(pull.nodes.length, "node")}`) : null,
      pull.nodes.length > 1 ? h("li", null, `ready on ${ready} of ${plural(pull.nodes.length, "node")}`) : null,
    ),
    waits.length ? h("ul", { class: "stalls" }, waits.slice(0, 5).map(([node, reason]) => h("li", null, node ? h("strong", null, `${node}: `) : null, reason))) : null,
    pull.nodes.length ? nodeTable(pull) : null,
  );
}

function answer(pull, all, waits) {
  if (pull.state === "paused") return [h("strong", null, "Paused"), " what is stored stays"];
  if (pull.state === "queued") return [h("strong", null, "Waiting"), " for its turn"];
  if (pull.eta_s === null) return [h("strong", null, waits.length ? "Stalled" : "Time left not known yet"), waits.length ? "" : pull.state === "resolving" ? " asking the Hub what there is" : ""];
  const between = range(pull.eta_low_s, pull.eta_high_s);
  return [h("strong", null, `${duration(pull.eta_s)} left`), between ? ` ${between}` : "", pull.isPartly ? ", on the nodes that go on" : "", pull.limited_by ? h("span", { class: "limit" }, ` limited by ${limitWord(pull.limited_by)}`) : ""];
}

function buttons(pull) {
  const name = pullName(pull);
  const button = (verb, text, kind) => h("button", { type: "button", class: kind, "data-do": verb, "data-pull": pull.id, "data-name": name, "aria-label": `${text} ${name}` }, text);
  return h("span", { class: "buttons" }, pull.state === "paused" ? button("resume", "Resume") : button("pause", "Pause"), button("cancel", "Cancel", "danger"));
}

function nodeTable(pull) {
  const head = ["Node", "State", "Progress", "Hub", "Members", "Rate", "Time left", "Note"];
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": `${pullName(pull)} by node` },
    h(
      "table",
      { class: "nodes" },
      h("thead", null, h("tr", null, head.map((text, index) => h("th", { scope: "col", class: index > 2 && index < 7 ? "number" : null }, text)))),
      h("tbody", null, pull.nodes.map((node) => nodeRow(pull, node))),
    ),
  );
}

function nodeRow(pull, node) {
  const share = percent(node.bytes_done, node.bytes_total);
  const open = !FINISHED.has(node.state);
  const note = node.error?.detail ?? node.error?.title ?? (open ? node.stalled_reason : null) ?? (open && node.limited_by ? limitWord(node.limited_by) : "");
  return h(
    "tr",
    { "data-key": node.name },
    h("th", { scope: "row" }, node.name),
    h("td", null, stateBadge(node.state, open && Boolean(node.stalled_reason))),
    h("td", { class: "progress" }, sourceBar(node, `${node.name}, done`), h("span", null, share === null ? "" : `${share} %`)),
    h("td", { class: "number" }, size(node.bytes_from_hub)),
    h("td", { class: "number" }, size(node.bytes_from_peers)),
    h("td", { class: "number" }, open && node.rate_bytes_per_s ? rate(node.rate_bytes_per_s) : ""),
    h("td", { class: "number" }, open && node.eta_s !== null ? [duration(node.eta_s), h("small", null, range(node.eta_low_s, node.eta_high_s))] : ""),
    h("td", { class: node.error ? "wrong" : "note" }, note),
  );
}

export function pullHistory({ finished, nowMs }) {
  if (!finished.length) return null;
  return h(
    "section",
    { "data-key": "history" },
    h("h2", { id: "history-title" }, "Finished pulls"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "history-title" },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, ["Pull", "State", "Size", "Hub", "Members", "Took", "When", "Why"].map((text, index) => h("th", { scope: "col", class: index > 1 && index < 6 ? "number" : null }, text)))),
        h("tbody", null, finished.slice(0, HISTORY_MAX).map((pull) => historyRow(pull, nowMs))),
      ),
    ),
  );
}

function historyRow(pull, nowMs) {
  const all = whole(pull);
  const took = pull.started_at && pull.finished_at ? (Date.parse(pull.finished_at) - Date.parse(pull.started_at)) / 1000 : null;
  return h(
    "tr",
    { "data-key": pull.id },
    h("th", { scope: "row" }, pullName(pull), pull.nodes.length ? h("small", null, ` on ${plural(pull.nodes.length, "node")}`) : null),
    h("td", null, stateBadge(pull.state)),
    h("td", { class: "number" }, all.bytes_total === null ? "" : size(all.bytes_total)),
    h("td", { class: "number" }, size(all.bytes_from_hub)),
    h("td", { class: "number" }, size(all.bytes_from_peers)),
    h("td", { class: "number" }, took === null ? "" : duration(took)),
    h("td", null, h("time", { datetime: pull.finished_at }, ago(pull.finished_at, nowMs))),
    h("td", { class: pull.error ? "wrong" : null }, pull.error ? `${pull.error.title}: ${pull.error.detail}` : ""),
  );
}
