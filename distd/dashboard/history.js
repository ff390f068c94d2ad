// Pulls of this node that have ended: what they came to, and why they failed.

import { h } from "./dom.js";
import { ago, duration, plural, pullName, size } from "./format.js";
import { whole } from "./fleet.js";
import { stateBadge } from "./pulls.js";
import { named, number, row, rowHead, section, table, text } from "./tables.js";

const HISTORY_MAX = 12; // what fits a screen; distctl pulls has all
const HEADS = [
  ["Pull", null],
  ["State", null],
  ["Size", "number"],
  ["Hub", "number"],
  ["Members", "number"],
  ["Took", "number"],
  ["When", null],
  ["Why", null],
];

export function pullHistory({ finished, nowMs }) {
  if (!finished.length) return null;
  const rows = finished.slice(0, HISTORY_MAX).map((pull) => historyRow(pull, nowMs));
  return section("history", "Finished pulls", table(named("history"), null, HEADS, rows));
}

function historyRow(pull, nowMs) {
  const all = whole(pull);
  const took =
    pull.started_at && pull.finished_at
      ? (Date.parse(pull.finished_at) - Date.parse(pull.started_at)) / 1000
      : null;
  return row(
    pull.id,
    rowHead(
      pullName(pull),
      pull.nodes.length ? h("small", null, ` on ${plural(pull.nodes.length, "node")}`) : null,
    ),
    text(stateBadge(pull.state)),
    number(all.bytes_total === null ? "" : size(all.bytes_total)),
    number(size(all.bytes_from_hub)),
    number(size(all.bytes_from_peers)),
    number(took === null ? "" : duration(took)),
    text(h("time", { datetime: pull.finished_at }, ago(pull.finished_at, nowMs))),
    h(
      "td",
      { class: pull.error ? "wrong" : null },
      pull.error ? `${pull.error.title}: ${pull.error.detail}` : "",
    ),
  );
}
