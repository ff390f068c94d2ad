// Sizes, rates and durations as people read them; the same forms as distctl's.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

// 137438953472 -> "137.4 GB"; powers of 1000, as disks and links are sold. Unknown is "?".
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "?";
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

export const rate = (bytesPerS) => `${size(bytesPerS)}/s`;

// Seconds as the two largest units: "3 h 08 m", "2 m 05 s", "12 s".
export function duration(seconds) {
  if (seconds < 9.5) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86400)} d ${two(Math.floor((s % 86400) / 3600))} h`;
}

export function range(low, high) {
  return low === null || high === null ? "" : `${duration(low)} to ${duration(high)}`;
}

// Never 100 % before all of it is there.
export function percent(done, total) {
  if (!total) return null;
  return done >= total ? 100 : Math.min(99, Math.floor((100 * done) / total));
}

export function ago(moment, nowMs) {
  const seconds = Math.max(0, (nowMs - Date.parse(moment)) / 1000);
  return seconds < 1.5 ? "now" : `${duration(Math.round(seconds))} ago`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hour12: false,
  });
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

const LIMITS = {
  hub: "the Hub",
  peer: "other members",
  intake: "this node's intake",
  files: "many small files",
  hashing: "hashing",
  disk: "the disk",
  limit: "a bandwidth limit",
  waiting: "nothing moves",
};

// What decides the time left, in words; a word that this page does not know stays as it is.
export function limitWord(limitedBy) {
  return limitedBy === null || limitedBy === undefined ? "" : (LIMITS[limitedBy] ?? limitedBy);
}

export function pullName(pull) {
  return pull.revision === "main"
    ? pull.repo
    : `${pull.repo}@${pull.revision === pull.commit ? pull.commit.slice(0, 8) : pull.revision}`;
}
