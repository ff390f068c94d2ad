// The daemon's REST API. The token lives in this tab's session storage, and goes nowhere but into the header.

const ASK_MS = 10_000; // longer than any of these answers takes on a busy node
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
