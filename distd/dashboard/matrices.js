// Every model against every member, and who feeds whom.

import { h, unseen } from "./dom.js";
import { percent, plural, rate, size } from "./format.js";
import { feeding, matrix } from "./fleet.js";
import { named, note, number, row, rowHead, section, table } from "./tables.js";

const SIGNS = [
  ["held", "✓", "complete"],
  ["part", "◐", "a selection"],
  ["stalled", "!", "stalled"],
  ["failed", "✕", "failed"],
  ["none", "–", "not there"],
  ["unknown", "·", "not known here"],
];

export function fleetMatrix(seen) {
  const { nodes, rows, more } = matrix(seen);
  const title = "Models on nodes";
  if (!rows.length) return section("matrix", title, h("p", { class: "empty" }, "No model is held yet."));
  const heads = [["Model", null], ["Size", "number"], ...nodes.map((node) => [node, "cell"])];
  const small = (word) => h("small", null, ` ${word}`);
  const lines = rows.map((model) =>
    row(
      model.key,
      rowHead(
        model.repo,
        model.type === "model" ? null : small(model.type),
        model.pinned ? small("pinned") : null,
      ),
      number(model.bytes ? size(model.bytes) : ""),
      nodes.map((node) => cell(model.cells.get(node))),
    ),
  );
  return section(
    "matrix",
    title,
    table(named("matrix"), "matrix", heads, lines),
    note(more ? `and ${plural(more, "more model")}: distctl ls --nodes all` : ""),
    h(
      "p",
      { class: "key", "aria-hidden": "true" },
      SIGNS.map(([kind, sign, word]) => h("span", { class: kind }, h("b", null, sign), ` ${word}`)),
    ),
  );
}

function cell(found) {
  if (!found)
    return h(
      "td",
      { class: "cell unknown" },
      h("span", { "aria-hidden": "true" }, "·"),
      unseen("not known here"),
    );
  const sign = (text, words) => [h("span", { "aria-hidden": "true" }, text), unseen(words)];
  const share = percent(found.done ?? 0, found.total);
  const content = {
    held: () => sign("✓", "complete"),
    part: () => sign("◐", "a selection of its files"),
    none: () => sign("–", "not there"),
    failed: () => sign("✕", `failed: ${found.reason}`),
    stalled: () =>
      sign(
        share === null ? "!" : `! ${share} %`,
        `stalled${share === null ? "" : ` at ${share} %`}: ${found.reason}`,
      ),
    waiting: () => [found.state],
    moving: () => [share === null ? found.state : share === 100 ? found.state : `${share} %`],
  }[found.kind]();
  const bar =
    found.kind === "moving" && share !== null
      ? h(
          "svg",
          { class: "fill", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
          h("rect", { x: 0, y: 0, width: share, height: 10 }),
        )
      : null;
  return h(
    "td",
    { class: `cell ${found.kind}`, title: found.reason ?? null },
    bar,
    h("span", { class: "over" }, content),
  );
}

// A row for each node that receives, a column for the Hub and each member that sends.
export function flows(seen) {
  const { nodes, rows, quiet } = feeding(seen);
  if (nodes.length < 2) return null;
  const top = Math.max(1e6, ...rows.flatMap((to) => [to.hub ?? 0, ...to.from.map((value) => value ?? 0)]));
  const heads = [
    ["To", null],
    ["from the Hub", "cell"],
    ...nodes.map((node) => [`from ${node}`, "cell"]),
    ["from members so far", "number"],
  ];
  const lines = rows.map((to) =>
    row(
      to.receiver,
      rowHead(to.receiver),
      flow(to.hub, top, "hub"),
      to.from.map((value) => flow(value, top, "peers")),
      number(to.total === null ? "" : size(to.total)),
    ),
  );
  const rest = quiet ? ` ${plural(quiet, "node")} between which less moves left out.` : "";
  return section(
    "flows",
    "Who feeds whom",
    table(named("flows"), "matrix flows", heads, lines),
    note(`Rates of the last seconds; bytes since each daemon's start, as sampled. A dot: not known.${rest}`),
  );
}

// undefined: a node to itself.
function flow(bytesPerS, top, kind) {
  if (bytesPerS === undefined) return h("td", { class: "cell self" });
  if (bytesPerS === null)
    return h("td", { class: "cell unknown" }, h("span", { "aria-hidden": "true" }, "·"), unseen("not known"));
  if (bytesPerS < 1000)
    return h("td", { class: "cell none" }, h("span", { "aria-hidden": "true" }, "–"), unseen("nothing"));
  const height = Math.max(4, Math.min(100, (100 * bytesPerS) / top));
  return h(
    "td",
    { class: "cell" },
    h("span", { class: "over" }, rate(bytesPerS)),
    h(
      "svg",
      { class: "under", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      h("rect", { class: kind, x: 0, y: 0, width: height.toFixed(1), height: 10 }),
    ),
  );
}
