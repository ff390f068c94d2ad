// The members of the cluster, as this node and they themselves tell.

import { h } from "./dom.js";
import { ago, duration, plural, size } from "./format.js";
import { pullCount } from "./fleet.js";
import { badge } from "./head.js";
import { named, note, number, row, rowHead, section, table, text } from "./tables.js";

const MEMBERS_MAX = 100; // the lost ones first; distctl peers has all
const LOST = { dead: 0, suspect: 1 };
const STATES = { alive: "good", suspect: "warn", dead: "bad", left: "dim" };
const HEADS = [
  ["Name", null],
  ["State", null],
  ["Zone", null],
  ["Models", "number"],
  ["Disk free", "number"],
  ["Pulls", "number"],
  ["Fetches from the Hub", null],
  ["Round trip", "number"],
  ["Heard", null],
  ["Trouble", null],
];

export function memberTable({ peers, fleet, status, nowMs }) {
  if (peers.length < 2) return null;
  const lost = (peer) => LOST[peer.state] ?? 2;
  const listed =
    peers.length <= MEMBERS_MAX ? peers : [...peers].sort((a, b) => lost(a) - lost(b)).slice(0, MEMBERS_MAX);
  const more = peers.length - listed.length;
  return section(
    "members",
    "Members",
    table(
      named("members"),
      "nodes",
      HEADS,
      listed.map((peer) => member(peer, fleet, status, nowMs)),
    ),
    note(more ? `and ${plural(more, "more member")}: distctl peers` : ""),
  );
}

function member(peer, fleet, status, nowMs) {
  const told = fleet.find((other) => other.name === peer.name);
  const heard = peer.seen_at ? ago(peer.seen_at, nowMs) : "by others only";
  return row(
    peer.name,
    rowHead(peer.name, peer.is_self ? h("small", null, " this node") : null),
    text(badge(STATES[peer.state] ?? "dim", peer.state), peer.draining ? badge("warn", "draining") : null),
    text(peer.zone),
    disk(peer.is_self ? status : told?.status),
    text(peer.fetches_hub ? "yes" : "no"),
    number(peer.is_self || peer.rtt_s === null ? "" : `${(peer.rtt_s * 1000).toFixed(1)} ms`),
    text(peer.is_self ? "" : heard),
    h("td", { class: "wrong" }, peer.trouble ?? told?.error?.detail ?? skew(peer)),
  );
}

// Of a member that told: what its cache holds, what room is left, how many pulls are active.
function disk(status) {
  if (!status) return [number(), number(), number()];
  return [size(status.cache.bytes), size(status.cache.free_bytes), pullCount(status)].map((each) =>
    number(each),
  );
}

// Members refuse each other's requests at 60 s.
function skew(peer) {
  return peer.clock_skew_s !== null && Math.abs(peer.clock_skew_s) > 5
    ? `its clock is ${duration(Math.abs(peer.clock_skew_s))} ${peer.clock_skew_s > 0 ? "ahead" : "behind"}`
    : "";
}
