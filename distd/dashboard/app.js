// Asks the daemon, keeps what it said, draws the page. The only module with a clock, timers and the document's events.

import { NeedsToken, ask, follow, isRightToken, token, wantsToken } from "./api.js";
import { hourChart, hoursOf, rateChart } from "./charts.js";
import { h, patch } from "./dom.js";
import { FINISHED, news, ratesNow, shown, together } from "./fleet.js";
import { clock } from "./format.js";
import { footer, header, summary } from "./head.js";
import { pullHistory } from "./history.js";
import { fleetMatrix, flows } from "./matrices.js";
import { memberTable } from "./members.js";
import { activePulls } from "./pulls.js";

const LOOK_MS = 1000;
const LOOK_MS_MAX = 10_000; // between tries while the daemon does not answer
const SLOW_MS = 10_000; // models and hours change seldom
const FLEET_MS = 2000; // this node asks all others, which is more work than telling of itself
const SHARE = 20; // what takes long is asked for seldom: a twentieth of the time at most, however large the fleet
const SPANS_MS = [60_000, 120_000, 300_000, 600_000]; // the shortest that holds all points, and at last the latest
const SPAN_MS = SPANS_MS.at(-1);
const HOURS = 24;
const PULLS_MAX = 60;
const FOLLOW_MS = 3000; // between an event stream that ended, or was refused, and the next
const FOLLOW_MS_MAX = 60_000;
const LATELY_MAX = 200; // events during one answer
const DRAW_MS = 100; // events of many pulls come together
const PEERS_MAX = 1000;

const nothing = () => ({ status: null, peers: [], pulls: [], rates: [], fleet: [], held: [] });
const seen = nothing();
const points = [];
let listed = []; // pulls of this node, newest first: asked for, and then told by the event stream while there is one
const lately = [];
const stream = { stop: null, lastId: "", tells: false, openAt: 0, waitMs: FOLLOW_MS };
let wanted = false; // the daemon has a token, and this tab does not
let hasToken = Boolean(token.get());
let lookSlowlyAt = 0;
let askFleetAt = 0;
let isAskingFleet = false;
let before = null;
let lastAnswerAt = null;
let waitMs = LOOK_MS;
let timer = 0;
let drawTimer = 0;

const byId = (id) => document.getElementById(id);

async function look() {
  clearTimeout(timer);
  try {
    await askOften();
    if (Date.now() > lookSlowlyAt) await askSlowly();
    wanted = false;
    lastAnswerAt = Date.now();
    waitMs = LOOK_MS;
    say(null);
  } catch (error) {
    if (error instanceof NeedsToken) {
      wanted = true;
      if (hasToken) forget();
      say("This daemon has a token: enter it to see how the fleet stands.");
    } else {
      waitMs = Math.min(waitMs * 2, LOOK_MS_MAX);
      say(
        `No answer from the daemon${lastAnswerAt ? ` since ${clock(lastAnswerAt)}; below is what it said then` : ""}. Trying again.`,
      );
    }
  }
  draw();
  timer = setTimeout(look, document.hidden ? LOOK_MS_MAX : waitMs);
}

async function askOften() {
  const [status, peers] = await Promise.all([
    ask("v1/status"),
    ask(`v1/peers?limit=${PEERS_MAX}`),
    stream.tells ? null : askPulls(),
  ]);
  followPulls();
  Object.assign(seen, { status, peers: peers.items });
  seen.pulls = pullsNow();
  if (peers.items.length < 2) seen.fleet = [];
  else askFleet();
  const { hub, peers: between } = ratesNow(seen);
  points.push({ t: Date.now(), hub, peers: between });
  while (points[0].t < Date.now() - SPAN_MS - LOOK_MS_MAX) points.shift();
}

// Rates, members and disks change all the time and are asked for; what becomes of pulls is told as it happens. When the
// stream ends they are asked for too, until it goes on after the last event.
function followPulls() {
  if (stream.stop || Date.now() < stream.openAt) return;
  const stop = new AbortController();
  stream.stop = stop;
  follow("v1/events", stream.lastId, stop, (event) => {
    stream.lastId = event.id;
    stream.waitMs = FOLLOW_MS;
    if (event.kind === "reset") {
      // The unfinished ones as they are now: the list is asked for once more, for what ended meanwhile.
      stream.tells = false;
      askPulls()
        .then(() => {
          stream.tells = stream.stop === stop;
        })
        .catch(() => {});
    } else if (event.kind === "pull") told(event.data);
  })
    .catch(() => {}) // the same trouble is met, and told, by the questions
    .finally(() => {
      if (stream.stop !== stop) return;
      Object.assign(stream, { stop: null, tells: false, openAt: Date.now() + stream.waitMs });
      stream.waitMs = Math.min(2 * stream.waitMs, FOLLOW_MS_MAX);
    });
}

function stopFollowing() {
  stream.stop?.abort();
  Object.assign(stream, { stop: null, lastId: "", tells: false, openAt: 0 });
}

async function askPulls() {
  lately.length = 0;
  const pulls = await ask(`v1/pulls?limit=${PULLS_MAX}`);
  listed = pulls.items;
  lately.forEach(put); // told while the answer was under way: it may be older
}

function put(pull) {
  const at = listed.findIndex((each) => each.id === pull.id);
  if (at >= 0) listed[at] = pull;
  else listed = [pull, ...listed].slice(0, PULLS_MAX);
}

function told(pull) {
  put(pull);
  lately.push(pull);
  if (lately.length > LATELY_MAX) lately.shift();
  if (!drawTimer) drawTimer = setTimeout(draw, DRAW_MS);
}

function pullsNow() {
  const ids = new Set(listed.map((pull) => pull.id));
  // A pull that is older than the page of the list is still active.
  const older = seen.status.active_pulls.filter((pull) => !ids.has(pull.id));
  return shown([...listed, ...older], seen.status.node);
}

// Not waited for: one member that is slow to answer must not hold up what is known of the others.
function askFleet() {
  if (isAskingFleet || Date.now() < askFleetAt) return;
  isAskingFleet = true;
  const began = Date.now();
  ask("v1/status?nodes=all")
    .then((answer) => {
      seen.fleet = answer.items;
    })
    .catch(() => {}) // the same trouble is met, and told, by the other questions
    .finally(() => {
      isAskingFleet = false;
      askFleetAt = Date.now() + Math.max(FLEET_MS, SHARE * (Date.now() - began));
    });
}

async function askSlowly() {
  const began = Date.now();
  const [held, rates] = await Promise.all([ask("v1/models?nodes=all"), ask(`v1/rates?since=${HOURS}h`)]);
  Object.assign(seen, { held: held.items, rates: rates.items });
  lookSlowlyAt = Date.now() + Math.max(SLOW_MS, SHARE * (Date.now() - began));
}

function draw() {
  clearTimeout(drawTimer);
  drawTimer = 0;
  patch(byId("top"), header({ status: seen.status, wanted, hasToken }));
  if (!seen.status) return;
  const nowMs = Date.now();
  seen.pulls = pullsNow();
  const active = together(seen);
  const finished = seen.pulls.filter((pull) => FINISHED.has(pull.state));
  patch(byId("main"), [
    summary(seen),
    activePulls({ active, mayChange: hasToken }),
    rateSection(nowMs),
    fleetMatrix(seen),
    flows(seen),
    memberTable({ ...seen, nowMs }),
    pullHistory({ finished, nowMs }),
  ]);
  patch(byId("foot"), footer());
  document.title = titleOf(active);
  const changes = news(before, seen);
  if (changes.length) lookSlowlyAt = 0; // what is held where has changed
  if (changes.length) byId("news").textContent = changes.slice(0, 3).join("; ");
  before = { pulls: seen.pulls, peers: seen.peers };
}

function rateSection(nowMs) {
  const span = SPANS_MS.find((each) => points.length && nowMs - points[0].t < each) ?? SPAN_MS;
  const legend = h(
    "p",
    { class: "key" },
    h("span", { class: "hub" }, h("b", null, "■"), " from the Hub"),
    h("span", { class: "peers" }, h("b", null, "■"), " from members"),
  );
  return h(
    "section",
    { "data-key": "rates", "aria-labelledby": "rates-title" },
    h("h2", { id: "rates-title" }, "Rates"),
    h(
      "div",
      { class: "pair" },
      h("figure", null, h("figcaption", null, "What arrives at all nodes"), rateChart(points, nowMs, span)),
      h(
        "figure",
        null,
        h("figcaption", null, "What this node got, by the hour"),
        hourChart(hoursOf(seen.rates, nowMs, HOURS)),
      ),
    ),
    legend,
  );
}

function titleOf(active) {
  const left = Math.max(...active.map((pull) => pull.eta_s ?? -1));
  const busy = active.length
    ? `${active.length} pulling${left >= 0 ? `, ${Math.ceil(left / 60)} min left` : ""} – `
    : "";
  return `${busy}${seen.status.node} – distd`;
}

function say(text) {
  const banner = byId("connection");
  banner.hidden = text === null;
  if (text !== null && banner.textContent !== text) banner.textContent = text;
}

function forget() {
  token.forget();
  hasToken = false;
}

async function act(verb, id) {
  try {
    if (verb === "cancel") await ask(`v1/pulls/${encodeURIComponent(id)}`, "DELETE");
    else await ask(`v1/pulls/${encodeURIComponent(id)}/${verb}`, "POST");
    byId("news").textContent = `${verb}: done`;
  } catch (error) {
    byId("news").textContent = `${verb} failed: ${error.message}`;
    say(`${verb} failed: ${error.message}`);
  }
  await look();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const verb = button.dataset.do;
  if (verb === "close") button.closest("dialog").close();
  else if (verb === "token") {
    byId("token-wrong").hidden = true;
    byId("token").showModal();
  } else if (verb === "forget") {
    forget();
    stopFollowing();
    listed = [];
    Object.assign(seen, nothing());
    patch(byId("main"), []);
    look();
  } else if (verb === "cancel") {
    byId("sure-title").textContent = `Cancel ${button.dataset.name}?`;
    byId("sure").dataset.pull = button.dataset.pull;
    byId("sure").showModal();
  } else act(verb, button.dataset.pull);
});

byId("sure")
  .querySelector("form")
  .addEventListener("submit", () => act("cancel", byId("sure").dataset.pull));

byId("token")
  .querySelector("form")
  .addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = byId("token-text");
    const wrong = byId("token-wrong");
    try {
      if (await isRightToken(input.value.trim())) {
        token.set(input.value.trim());
        hasToken = true;
        lookSlowlyAt = 0;
        byId("token").close();
        await look();
      } else {
        wrong.textContent = "The daemon does not accept this token.";
        wrong.hidden = false;
        input.select();
      }
    } catch {
      wrong.textContent = "The daemon gives no answer.";
      wrong.hidden = false;
    }
  });
byId("token").addEventListener("close", () => {
  byId("token-text").value = "";
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

// A token that the daemon does not ask for proves nothing: without one in the daemon this page only shows.
if (hasToken && !(await wantsToken().catch(() => true))) forget();
look();
