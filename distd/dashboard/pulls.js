// Pulls under way, as cards that answer "when is it ready?".

import { sourceBar } from "./charts.js";
import { h } from "./dom.js";
import { duration, limitWord, percent, plural, pullName, range, rate, size } from "./format.js";
import { FINISHED, copies, stalls, whole } from "./fleet.js";
import { badge } from "./head.js";
import { number, row, rowHead, table, text } from "./tables.js";

const KINDS = { complete: "good", failed: "bad", cancelled: "dim", paused: "warn", queued: "dim" };
const HEADS = [
  ["Node", null],
  ["State", null],
  ["Progress", null],
  ["Hub", "number"],
  ["Members", "number"],
  ["Rate", "number"],
  ["Time left", "number"],
  ["Note", null],
];

export const stateBadge = (state, isStalled = false) =>
  badge(isStalled ? "warn" : (KINDS[state] ?? "busy"), isStalled ? "stalled" : state);

export function activePulls({ active, mayChange }) {
  return h(
    "section",
    { "data-key": "pulls", "aria-labelledby": "pulls-title" },
    h("h2", { id: "pulls-title" }, "Pulls"),
    active.length
      ? active.map((pull) => card(pull, mayChange))
      : h(
          "p",
          { class: "empty" },
          "Nothing is being pulled. ",
          h("code", null, "distctl pull org/name"),
          " starts one.",
        ),
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
      h(
        "li",
        null,
        h("strong", null, share === null ? size(all.bytes_done) : `${share} %`),
        all.bytes_total ? ` ${size(all.bytes_done)} of ${size(all.bytes_total)}` : "",
      ),
      h(
        "li",
        { class: "hub" },
        `Hub ${size(all.bytes_from_hub)}`,
        all.rate_hub_bytes_per_s ? ` at ${rate(all.rate_hub_bytes_per_s)}` : "",
      ),
      h(
        "li",
        { class: "peers" },
        `Members ${size(all.bytes_from_peers)}`,
        all.rate_peers_bytes_per_s ? ` at ${rate(all.rate_peers_bytes_per_s)}` : "",
      ),
      all.bytes_reused ? h("li", { class: "reused" }, `Held before ${size(all.bytes_reused)}`) : null,
      times
        ? h(
            "li",
            null,
            `${times.toFixed(2)} copies from the Hub so far, for ${plural(pull.nodes.length, "node")}`,
          )
        : null,
      pull.nodes.length > 1
        ? h("li", null, `ready on ${ready} of ${plural(pull.nodes.length, "node")}`)
        : null,
    ),
    waits.length
      ? h(
          "ul",
          { class: "stalls" },
          waits
            .slice(0, 5)
            .map(([node, reason]) => h("li", null, node ? h("strong", null, `${node}: `) : null, reason)),
        )
      : null,
    pull.nodes.length ? nodeTable(pull) : null,
  );
}

function answer(pull, all, waits) {
  if (pull.state === "paused") return [h("strong", null, "Paused"), " what is stored stays"];
  if (pull.state === "queued") return [h("strong", null, "Waiting"), " for its turn"];
  if (pull.eta_s === null)
    return [
      h("strong", null, waits.length ? "Stalled" : "Time left not known yet"),
      waits.length ? "" : pull.state === "resolving" ? " asking the Hub what there is" : "",
    ];
  const between = range(pull.eta_low_s, pull.eta_high_s);
  return [
    h("strong", null, `${duration(pull.eta_s)} left`),
    between ? ` ${between}` : "",
    pull.isPartly ? ", on the nodes that go on" : "",
    pull.limited_by ? h("span", { class: "limit" }, ` limited by ${limitWord(pull.limited_by)}`) : "",
  ];
}

function buttons(pull) {
  const name = pullName(pull);
  const button = (verb, text, kind) =>
    h(
      "button",
      {
        type: "button",
        class: kind,
        "data-do": verb,
        "data-pull": pull.id,
        "data-name": name,
        "aria-label": `${text} ${name}`,
      },
      text,
    );
  return h(
    "span",
    { class: "buttons" },
    pull.state === "paused" ? button("resume", "Resume") : button("pause", "Pause"),
    button("cancel", "Cancel", "danger"),
  );
}

function nodeTable(pull) {
  const name = { "aria-label": `${pullName(pull)} by node` };
  return table(
    name,
    "nodes",
    HEADS,
    pull.nodes.map((node) => nodeRow(node)),
  );
}

function nodeRow(node) {
  const share = percent(node.bytes_done, node.bytes_total);
  const open = !FINISHED.has(node.state);
  const why =
    node.error?.detail ??
    node.error?.title ??
    (open ? node.stalled_reason : null) ??
    (open && node.limited_by ? limitWord(node.limited_by) : "");
  return row(
    node.name,
    rowHead(node.name),
    text(stateBadge(node.state, open && Boolean(node.stalled_reason))),
    h(
      "td",
      { class: "progress" },
      sourceBar(node, `${node.name}, done`),
      h("span", null, share === null ? "" : `${share} %`),
    ),
    number(size(node.bytes_from_hub)),
    number(size(node.bytes_from_peers)),
    number(open && node.rate_bytes_per_s ? rate(node.rate_bytes_per_s) : ""),
    number(
      open && node.eta_s !== null
        ? [duration(node.eta_s), h("small", null, range(node.eta_low_s, node.eta_high_s))]
        : "",
    ),
    h("td", { class: node.error ? "wrong" : "note" }, why),
  );
}
