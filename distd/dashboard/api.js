// The daemon's REST API. The token lives in this tab's session storage, and goes nowhere but into the header.

const ASK_MS = 10_000; // longer than any of these answers takes on a busy node
const SILENT_MS = 40_000;
const KEY = "distd-token";

export class NeedsToken extends Error {}
export class Unreachable extends Error {}
export class Refused extends Error {} // `message` is the problem's detail

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

// The answer's JSON. Paths are relative, so that the page also works below a proxy's prefix.
export async function ask(path, method = "GET", withToken = token.get()) {
  const headers = withToken ? { Authorization: `Bearer ${withToken}` } : {};
  let response;
  let text;
  try {
    response = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
    text = await response.text();
  } catch (error) {
    throw new Unreachable(error.message);
  }
  if (response.status === 401) throw new NeedsToken(problemOf(text));
  if (!response.ok) throw new Refused(problemOf(text) || `${response.status}`);
  return text ? JSON.parse(text) : null;
}

// An event stream after the event `lastId`, until it ends: `tell({ id, kind, data })` for each event. Not an EventSource, which
// cannot send the token. A daemon says something every 15 s: after `SILENT_MS` of nothing it is given up.
export async function follow(path, lastId, stop, tell) {
  const headers = { Accept: "text/event-stream" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (lastId) headers["Last-Event-ID"] = lastId;
  let timer = setTimeout(() => stop.abort(), SILENT_MS);
  try {
    const response = await fetch(path, { headers, cache: "no-store", signal: stop.signal });
    if (!response.ok) throw new Refused(`${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENT_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(
          block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trim()]),
        );
        if (fields.data) tell({ id: fields.id, kind: fields.event, data: JSON.parse(fields.data) });
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

// Does the daemon want this token, and does it want one at all? It answers 401 to a wrong one only if it has one.
export async function isRightToken(text) {
  try {
    await ask("v1/status", "GET", text);
    return true;
  } catch (error) {
    if (error instanceof NeedsToken) return false;
    throw error;
  }
}

// Whether a token is set in the daemon: without one it needs none to read, and this page then only shows.
export async function wantsToken() {
  try {
    await ask("v1/status", "GET", "");
    return false;
  } catch (error) {
    if (error instanceof NeedsToken) return true;
    throw error;
  }
}

function problemOf(text) {
  try {
    return JSON.parse(text).detail ?? "";
  } catch {
    return "";
  }
}
