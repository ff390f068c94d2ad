// Rates over time as stacked areas, and hours as bars. SVG attributes only: no style attribute, which the page's
// Content-Security-Policy forbids. Lengths are in percent of the picture; labels are ordinary text beside it.

import { h } from "./dom.js";
import { plural, rate, size } from "./format.js";

const STEPS = [1, 2, 5];

// The next round number at or above `value`: 1, 2 or 5 with zeros; at least 1 MB/s, so that noise stays small.
export function roundUp(value) {
  const least = Math.max(value, 1e6);
  for (let scale = 1; ; scale *= 10) {
    for (const step of STEPS) if (step * scale >= least) return step * scale;
  }
}

// `points`: [{t, hub, peers}], milliseconds and bytes per second, oldest first. Shows the last `spanMs`.
export function rateChart(points, nowMs, spanMs) {
  const recent = points.filter((point) => point.t >= nowMs - spanMs);
  const top = roundUp(Math.max(0, ...recent.map((point) => point.hub + point.peers)));
  const x = (t) => (100 * (1 - (nowMs - t) / spanMs)).toFixed(2);
  const y = (value) => (100 * (1 - value / top)).toFixed(2);
  const area = (low, high) => {
    if (recent.length < 2) return "";
    const over = recent.map((point) => `${x(point.t)} ${y(high(point))}`);
    const back = recent.map((point) => `${x(point.t)} ${y(low(point))}`).reverse();
    return `M${over.join("L")}L${back.join("L")}Z`;
  };
  const both = (point) => point.hub + point.peers;
  const last = recent.at(-1) ?? { hub: 0, peers: 0 };
  return h(
    "div",
    { class: "chart" },
    h("span", { class: "y-top" }, rate(top)),
    h("span", { class: "y-mid" }, rate(top / 2)),
    h(
      "svg",
      {
        viewBox: "0 0 100 100",
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `Rates of the last ${plural(spanMs / 60000, "minute")}; now ${rate(last.hub)} from the Hub and ${rate(last.peers)} from members`,
      },
      h("path", { class: "grid", d: "M0 50H100M0 0.5H100" }),
      h("path", {
        class: "area hub",
        d: area(
          () => 0,
          (point) => point.hub,
        ),
      }),
      h("path", { class: "area peers", d: area((point) => point.hub, both) }),
    ),
    h("span", { class: "x-left" }, `${spanMs / 60000} min ago`),
    h("span", { class: "x-right" }, "now"),
  );
}

// `hours`: [{start, hub, peers}] with bytes, one for each hour, oldest first.
export function hourChart(hours) {
  const top = roundUp(Math.max(0, ...hours.map((hour) => hour.hub + hour.peers)));
  const wide = 100 / hours.length;
  const bars = hours.flatMap((hour, index) => {
    const hub = (100 * hour.hub) / top;
    const peers = (100 * hour.peers) / top;
    const at = { x: (index * wide + wide * 0.12).toFixed(2), width: (wide * 0.76).toFixed(2) };
    return [
      h("rect", { class: "hub", ...at, y: (100 - hub).toFixed(2), height: hub.toFixed(2) }),
      h("rect", { class: "peers", ...at, y: (100 - hub - peers).toFixed(2), height: peers.toFixed(2) }),
    ];
  });
  const sum = (key) => hours.reduce((all, hour) => all + hour[key], 0);
  return h(
    "div",
    { class: "chart" },
    h("span", { class: "y-top" }, size(top)),
    h(
      "svg",
      {
        viewBox: "0 0 100 100",
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `Bytes of each of the last ${hours.length} hours, in all ${size(sum("hub"))} from the Hub and ${size(sum("peers"))} from members`,
      },
      h("path", { class: "grid", d: "M0 50H100M0 0.5H100" }),
      bars,
    ),
    h("span", { class: "x-left" }, `${hours.length} h ago`),
    h("span", { class: "x-right" }, "now"),
  );
}

// The hours of `/v1/rates` for the chart: one entry an hour, none left out.
export function hoursOf(rates, nowMs, count) {
  const HOUR_MS = 3_600_000;
  const first = Math.floor(nowMs / HOUR_MS) - count + 1;
  const hours = Array.from({ length: count }, (_, index) => ({
    start: (first + index) * HOUR_MS,
    hub: 0,
    peers: 0,
  }));
  for (const source of rates.filter((each) => each.source === "hub" || each.source === "peers")) {
    for (const hour of source.hours) {
      const found = hours[Math.floor(Date.parse(hour.hour) / HOUR_MS) - first];
      if (found) found[source.source] += hour.bytes;
    }
  }
  return hours;
}

// Done of a total by source, as one bar: what came from the Hub, from members, was held already, and what is missing.
export function sourceBar(counted, label) {
  const total = counted.bytes_total;
  const share = (bytes) => (total ? (100 * bytes) / total : 0);
  const parts = [
    ["reused", counted.bytes_reused],
    ["peers", counted.bytes_from_peers],
    ["hub", counted.bytes_from_hub],
  ];
  let x = 0;
  const rects = parts.map(([source, bytes]) => {
    const width = Math.min(100 - x, share(bytes));
    const rect = h("rect", { class: source, x: x.toFixed(3), y: 0, width: width.toFixed(3), height: 10 });
    x += width;
    return rect;
  });
  const now = total ? Math.floor((100 * counted.bytes_done) / total) : null;
  return h(
    "div",
    {
      class: "bar",
      role: "progressbar",
      "aria-label": label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": now,
    },
    h("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, rects),
  );
}
