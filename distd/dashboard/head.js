// The top of the page: where this is, how it stands, and the figures to see first.

import { h, unseen } from "./dom.js";
import { duration, rate, size } from "./format.js";
import { ratesNow } from "./fleet.js";

export function header({ status, wanted, hasToken }) {
  const cluster = status?.cluster.name ? ` in ${status.cluster.name}` : "";
  return [
    h(
      "h1",
      null,
      h("span", { class: "brand" }, "distd"),
      status ? h("span", { class: "node" }, status.node, h("small", null, cluster)) : null,
    ),
    status ? badge(status.ready ? "good" : "bad", status.ready ? "Ready" : "Not ready") : null,
    h("span", { class: "grow" }),
    hasToken
      ? h("button", { type: "button", "data-do": "forget" }, "Forget the token")
      : wanted
        ? h("button", { type: "button", "data-do": "token", class: "primary" }, "Enter the token")
        : status
          ? h(
              "span",
              {
                class: "hint",
                title: "A daemon with api.token_file takes changes from this page; without, distctl does.",
              },
              "Read-only",
            )
          : null,
  ];
}

export const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

// The summary: members, rates, traffic between members, disk.
export function summary({ status, peers, fleet }) {
  const { members, reachable } = status.cluster;
  const { hub, peers: between } = ratesNow({ status, fleet });
  const cache = status.cache;
  const used = cache.bytes;
  const limit = cache.max_bytes || used + cache.free_bytes;
  const lost = peers
    .filter((peer) => peer.state === "dead" || peer.state === "suspect")
    .map((peer) => peer.name);
  return h(
    "section",
    { class: "tiles", "data-key": "glance", "aria-label": "At a glance" },
    tile(
      "Members",
      members > 1 ? `${reachable} of ${members}` : "1",
      members > 1
        ? lost.length
          ? `no answer from ${lost.slice(0, 3).join(", ")}${lost.length > 3 ? ` and ${lost.length - 3} more` : ""}`
          : "all reachable"
        : "alone, without peers",
      lost.length ? "bad" : "",
    ),
    tile(
      "From the Hub",
      rate(hub),
      hub + between ? `${Math.round((100 * hub) / (hub + between))} % of what arrives` : "nothing arrives",
      "hub",
    ),
    tile(
      "From members",
      rate(between),
      hub + between
        ? `${Math.round((100 * between) / (hub + between))} % of what arrives`
        : "nothing arrives",
      "peers",
    ),
    tile(
      "Disk of this node",
      `${size(cache.free_bytes)} free`,
      `${size(used)} of models${cache.max_bytes ? `, at most ${size(cache.max_bytes)}` : ""}`,
      "",
      diskBar(used, limit),
    ),
    tile("Up for", duration(status.uptime_s), `distd ${status.version}`, ""),
  );
}

function tile(label, value, more, kind, extra) {
  return h(
    "div",
    { class: `tile ${kind}` },
    h("span", { class: "label" }, label),
    h("strong", null, value),
    extra,
    h("span", { class: "more" }, more),
  );
}

function diskBar(used, limit) {
  const share = limit ? Math.min(100, (100 * used) / limit) : 0;
  return h(
    "div",
    {
      class: "bar thin",
      role: "meter",
      "aria-label": "Part of the disk that models use",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": Math.round(share),
    },
    h(
      "svg",
      { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      h("rect", { class: share > 90 ? "failed" : "reused", x: 0, y: 0, width: share.toFixed(2), height: 10 }),
    ),
  );
}

export function footer() {
  return [
    h("a", { href: "metrics" }, "Metrics"),
    h("a", { href: "v1/status" }, "Status as JSON"),
    h("span", null, "In a terminal: ", h("code", null, "distctl top")),
    unseen("The page updates itself."),
  ];
}
