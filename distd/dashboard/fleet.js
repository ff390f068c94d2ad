// What the daemon's answers come to for the whole fleet. Pure: answers in, plain objects out, no page and no clock.

export const FINISHED = new Set(["complete", "failed", "cancelled"]);
// What is drawn each second, and what a person can take in; the rest is counted.
const MATRIX_NODES_MAX = 24;
const MODELS_MAX = 50;
const SUMMED = [
  "bytes_done",
  "bytes_from_hub",
  "bytes_from_peers",
  "bytes_reused",
  "rate_bytes_per_s",
  "rate_hub_bytes_per_s",
  "rate_peers_bytes_per_s",
];

// A pull on several nodes with bytes and rates of all of them, as distctl sums them; any other as it is.
export function whole(pull) {
  if (!pull.nodes.length) return pull;
  const summed = Object.fromEntries(
    SUMMED.map((key) => [key, pull.nodes.reduce((sum, node) => sum + node[key], 0)]),
  );
  const totals = pull.nodes.map((node) => node.bytes_total).filter((total) => total !== null);
  // A node that has not planned yet will need what the others need.
  const total = totals.length
    ? totals.reduce((a, b) => a + b, 0) + Math.max(...totals) * (pull.nodes.length - totals.length)
    : null;
  return { ...pull, ...summed, bytes_total: total };
}

// How often the pull's bytes left the Hub: 1 is each byte once for all nodes. null where it says nothing.
export function copies(pull) {
  const largest = Math.max(0, ...pull.nodes.map((node) => node.bytes_total ?? 0));
  const fetched = whole(pull).bytes_from_hub;
  return pull.nodes.length > 1 && largest && fetched ? fetched / largest : null;
}

// Why nothing moves, of a pull and of each of its nodes: [[node or null, reason], ...].
export function stalls(pull) {
  const found = pull.nodes
    .filter((node) => node.stalled_reason && !FINISHED.has(node.state))
    .map((node) => [node.name, node.stalled_reason]);
  return pull.stalled_reason && !found.length ? [[null, pull.stalled_reason]] : found;
}

// The fleet's active pulls. A model that several nodes pull is one entry with a part for each node, whether one of them
// coordinates it or they pull side by side. `foreign`: this node has no pull of it and cannot steer it.
export function together({ status, pulls, fleet }) {
  const groups = new Map();
  const add = (pull, parts, foreign) => {
    const key = `${pull.type}/${pull.repo}@${pull.revision}`;
    if (!groups.has(key)) groups.set(key, { pull, foreign, parts: new Map() });
    const group = groups.get(key);
    for (const part of parts) if (!group.parts.has(part.name)) group.parts.set(part.name, part);
  };
  const partsOf = (pull, name) => (pull.nodes.length ? pull.nodes : [{ ...pull, name, pull_id: pull.id }]);
  // Pulls with nodes first: what their coordinator knows of each is one picture of one moment.
  const own = pulls
    .filter((pull) => !FINISHED.has(pull.state))
    .sort((a, b) => b.nodes.length - a.nodes.length);
  for (const pull of own) add(pull, partsOf(pull, status.node), false);
  for (const other of fleet) {
    if (!other.status || other.name === status.node) continue;
    for (const pull of other.status.active_pulls) add(pull, partsOf(pull, other.name), true);
  }
  return [...groups.values()].map(({ pull, foreign, parts }) => {
    const nodes = [...parts.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const lost = nodes.filter((node) => node.state === "failed" || node.state === "cancelled");
    // With a node that failed the whole is never ready; when the others are is still worth knowing.
    if (pull.nodes.length)
      return {
        ...pull,
        ...(pull.eta_s === null && lost.length ? { ...slowest(nodes), isPartly: true } : {}),
        foreign,
        nodes,
      };
    if (nodes.length === 1 && !foreign) return { ...pull, foreign };
    return { ...pull, ...slowest(nodes), foreign, nodes };
  });
}

// The whole is ready when its last node is; unknown as long as one of them is.
function slowest(nodes) {
  const open = nodes.filter((node) => !FINISHED.has(node.state));
  const unknown = { eta_s: null, eta_low_s: null, eta_high_s: null, limited_by: null };
  if (!open.length || open.some((node) => node.eta_s === null)) return unknown;
  const last = open.reduce((a, b) => (b.eta_s > a.eta_s ? b : a));
  const most = (key) =>
    open.some((node) => node[key] === null) ? null : Math.max(...open.map((node) => node[key]));
  return {
    eta_s: last.eta_s,
    eta_low_s: most("eta_low_s"),
    eta_high_s: most("eta_high_s"),
    limited_by: last.limited_by,
  };
}

// Who feeds whom: for each node that receives, what arrives from the Hub and from each member now. What the receiver
// says counts; of one that gave no answer, what the sender says it sends. Rates are null where neither is known.
export function feeding({ status, peers, fleet }) {
  const known = new Map(fleet.filter((other) => other.status).map((other) => [other.name, other.status]));
  known.set(status.node, status);
  const nodes = peers.filter((peer) => peer.state !== "left").map((peer) => peer.name);
  const flowOf = (of, peer, key) =>
    known.get(of)?.flows.find((flow) => flow.peer === peer)?.[key] ?? (known.has(of) ? 0 : null);
  const rows = nodes.map((receiver) => ({
    receiver,
    hub: known.get(receiver)?.rates.hub_bytes_per_s ?? null,
    from: nodes.map((sender) =>
      sender === receiver
        ? undefined
        : (flowOf(receiver, sender, "receive_rate_bytes_per_s") ??
          flowOf(sender, receiver, "send_rate_bytes_per_s")),
    ),
    total: known.has(receiver)
      ? nodes.reduce(
          (sum, sender) => sum + (sender === receiver ? 0 : flowOf(receiver, sender, "received_bytes")),
          0,
        )
      : null,
  }));
  // Of a large fleet those are shown between whom something moves.
  if (nodes.length <= MATRIX_NODES_MAX) return { nodes, rows, quiet: 0 };
  const moved = nodes.map(
    (_, index) =>
      (rows[index].hub ?? 0) +
      rows[index].from.reduce((sum, value) => sum + (value ?? 0), 0) +
      rows.reduce((sum, row) => sum + (row.from[index] ?? 0), 0),
  );
  const kept = moved
    .map((sum, index) => [sum, index])
    .sort((a, b) => b[0] - a[0] || a[1] - b[1])
    .slice(0, MATRIX_NODES_MAX)
    .map(([, index]) => index)
    .sort((a, b) => a - b);
  return {
    nodes: kept.map((index) => nodes[index]),
    rows: kept.map((index) => ({ ...rows[index], from: kept.map((each) => rows[index].from[each]) })),
    quiet: nodes.length - kept.length,
  };
}

// This node's own part of a pull on several nodes is shown within its whole, not once more beside it.
export function shown(pulls, me) {
  const parts = new Set();
  for (const pull of pulls) {
    for (const node of pull.nodes) if (node.name === me && node.pull_id !== pull.id) parts.add(node.pull_id);
  }
  return pulls.filter((pull) => !parts.has(pull.id));
}

// The matrix: every model known here against every member. A cell is {kind, ...}: `held` (complete), `part` (a
// selection), `moving` (done, total), `waiting`, `stalled` (reason), `failed` (reason), `none`, or null: not known here.
export function matrix({ status, peers, pulls, fleet, held }) {
  const me = status.node;
  const nodes = peers.map((peer) => peer.name);
  const rows = new Map();
  const rowOf = (type, repo) => {
    const key = `${type}/${repo}`;
    if (!rows.has(key)) rows.set(key, { key, type, repo, cells: new Map() });
    return rows.get(key);
  };
  const active = together({ status, pulls, fleet });
  // Newest first: what an older pull came to is told only where no newer one says otherwise.
  for (const pull of [...active, ...pulls.filter((each) => FINISHED.has(each.state))]) {
    const row = rowOf(pull.type, pull.repo);
    const parts = pull.nodes.length ? pull.nodes : [{ ...pull, name: me }];
    for (const part of parts)
      if (!row.cells.has(part.name))
        row.cells.set(part.name, { ...cellOf(part), isActive: !FINISHED.has(pull.state) });
  }
  // A cache says more than what a finished pull once came to, but not than one that is under way or failed since.
  const isOpen = (cell) => cell && !["held", "part", "none"].includes(cell.kind);
  const told = held.filter((each) => !each.error);
  for (const other of told) {
    for (const model of other.models) {
      const row = rowOf(model.type, model.repo);
      row.bytes = Math.max(row.bytes ?? 0, model.bytes);
      row.pinned ||= model.revisions.some((revision) => revision.pinned);
      const complete = model.revisions.some((revision) => revision.complete);
      if (!isOpen(row.cells.get(other.name)) || row.cells.get(other.name).kind === "failed")
        row.cells.set(other.name, { kind: complete ? "held" : "part" });
    }
  }
  for (const other of told.filter((each) => !each.more)) {
    const there = new Set(other.models.map((model) => `${model.type}/${model.repo}`));
    for (const row of rows.values()) {
      const cell = row.cells.get(other.name);
      // What an active pull has published may be younger than the list.
      if (!there.has(row.key) && !isOpen(cell) && !cell?.isActive)
        row.cells.set(other.name, { kind: "none" });
    }
  }
  const busy = (row) =>
    [...row.cells.values()].some((cell) => ["moving", "waiting", "stalled"].includes(cell.kind));
  const ordered = [...rows.values()].filter((row) =>
    [...row.cells.values()].some((cell) => cell.kind !== "none"),
  );
  ordered.sort((a, b) => busy(b) - busy(a) || (a.key < b.key ? -1 : 1));
  return { nodes, rows: ordered.slice(0, MODELS_MAX), more: Math.max(0, ordered.length - MODELS_MAX) };
}

function cellOf(part) {
  if (part.state === "complete") return { kind: "held" };
  if (part.state === "cancelled") return { kind: "none" };
  if (part.state === "failed")
    return { kind: "failed", reason: part.error?.detail ?? part.error?.title ?? "failed" };
  if (part.stalled_reason)
    return { kind: "stalled", reason: part.stalled_reason, done: part.bytes_done, total: part.bytes_total };
  if (part.state === "queued" || part.state === "resolving" || part.state === "paused")
    return { kind: "waiting", state: part.state };
  return { kind: "moving", state: part.state, done: part.bytes_done, total: part.bytes_total };
}

// What arrives now at all nodes that told; this node's own is always known.
export function ratesNow({ status, fleet }) {
  const all = [
    status,
    ...fleet.filter((other) => other.status && other.name !== status.node).map((other) => other.status),
  ];
  const sum = (key) => all.reduce((total, each) => total + each.rates[key], 0);
  return { hub: sum("hub_bytes_per_s"), peers: sum("peers_bytes_per_s") };
}

// Pulls under way on a node; the coordinator's own part is not counted beside the whole.
export const pullCount = (status) =>
  new Set(status.active_pulls.map((pull) => `${pull.type}/${pull.repo}@${pull.revision}`)).size;

// What changed between two looks that a person should hear of; rates and shares are not.
export function news(before, now) {
  if (!before) return [];
  const states = new Map(before.pulls.map((pull) => [pull.id, pull]));
  const told = [];
  for (const pull of now.pulls) {
    const old = states.get(pull.id);
    if (!old) told.push(`${pull.repo}: new pull, ${pull.state}`);
    else if (old.state !== pull.state && FINISHED.has(pull.state)) told.push(`${pull.repo}: ${pull.state}`);
    else if (!stalls(old).length && stalls(pull).length)
      told.push(`${pull.repo}: stalled, ${stalls(pull)[0][1]}`);
  }
  const members = new Map(before.peers.map((peer) => [peer.name, peer.state]));
  for (const peer of now.peers) {
    if (members.has(peer.name) && members.get(peer.name) !== peer.state)
      told.push(`${peer.name} is ${peer.state}`);
  }
  return told;
}
