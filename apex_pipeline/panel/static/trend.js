// Replaces the page's static picture with an interactive chart.

const chart = document.getElementById("chart");
const REFRESH_MS = 300_000;
const DAYS = [1, 2, 7, 14, 28];
const AHEAD = { 30: 14, 60: 30, 90: 30 };

const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
const usd = (value) => (value == null ? "" : value === 0 ? "$0" : `$${value.toFixed(2)}`);
const percent = (value) => (value == null ? "" : `${value.toFixed(1)} %`);
const at = (day) => Date.parse(`${day}T00:00:00Z`) / 1000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const short = (seconds) => {
  const date = new Date(seconds * 1000);
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
};
const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

// What the picture shows, for those who do not see it. Read before it is replaced.
const picture = chart?.querySelector("svg");
const described = picture
  ? ["title", "desc"].map((name) => picture.querySelector(name)?.textContent).join(": ")
  : "";

let plots = [];
let data = null;

async function read(path) {
  const answer = await fetch(path, { redirect: "manual" });
  return answer.ok ? answer.json() : null;
}

async function load() {
  const { days, root } = chart.dataset;
  const [history, forecast] = await Promise.all([
    read(`${root}/api/history?days=${days}`),
    read(`${root}/api/forecast`),
  ]);
  if (!history || !history.days.length) return;
  data = columns(history.days, forecast ? forecast.days.slice(0, AHEAD[days]) : []);
  draw();
}

function columns(past, ahead) {
  const none = (list) => list.map(() => null);
  const later = ahead.filter((each) => each.day > past[past.length - 1].day);
  const column = (name) => [...past.map((each) => each[name]), ...none(later)];
  const future = (name) => [...none(past), ...later.map((each) => each[name])];
  return {
    days: [...past, ...later].map((each) => at(each.day)),
    cost: column("cost_usd"),
    average: column("cost_avg_7d_usd"),
    forecast: future("cost_usd"),
    low: future("low_80_usd"),
    high: future("high_80_usd"),
    success: column("success_rate_pct"),
  };
}

function draw() {
  for (const plot of plots) plot.destroy();
  chart.replaceChildren();
  const line = (label, name, value, more = {}) => ({
    label,
    value: (_, number) => value(number),
    stroke: colour(name),
    width: 2,
    points: { show: false },
    ...more,
  });
  const faint = { width: 0 };
  const has = (values) => values.some((value) => value != null);
  // What is not drawn has no name in the legend.
  const shown = [
    [data.cost, line("Cost", "--chart-1", usd)],
    [data.average, line("7-day mean", "--chart-3", usd, { width: 1.5, dash: [5, 4] })],
    [data.forecast, line("Forecast", "--chart-2", usd)],
    [data.high, line("80 % up to", "--chart-2", usd, faint)],
    [data.low, line("80 % from", "--chart-2", usd, faint)],
  ].filter(([values]) => has(values));
  const ends = [shown.length - 1, shown.length];
  plots = [
    plot("Cost by day", "US dollars", [data.days, ...shown.map(([values]) => values)], {
      height: 260,
      scales: { y: { range: (_, __, most) => [0, (most || 1) * 1.08] } },
      series: shown.map(([, series]) => series),
      bands: has(data.high) ? [{ series: ends, fill: `${colour("--chart-2")}33` }] : [],
    }),
    plot("Success rate", "percent of agents", [data.days, data.success], {
      height: 170,
      scales: { y: { range: (_, least) => [Math.min(90, Math.floor((least ?? 90) / 5) * 5), 100] } },
      series: [line("Success rate", "--chart-1", percent)],
    }),
  ];
}

function plot(title, unit, values, { height, scales, series, bands }) {
  const heading = document.createElement("h3");
  heading.innerHTML = "<b></b> <span></span>";
  heading.querySelector("b").textContent = title;
  heading.querySelector("span").textContent = unit;
  const place = document.createElement("div");
  chart.append(heading, place);
  const axis = {
    stroke: colour("--chart-muted"),
    grid: { stroke: colour("--chart-grid"), width: 1 },
    ticks: { show: false },
    font: `12px ${getComputedStyle(document.body).fontFamily}`,
  };
  const options = {
    width: chart.clientWidth,
    height,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { sync: { key: "trend" }, drag: { setScale: false } },
    scales: { x: { time: true }, ...scales },
    axes: [
      { ...axis, size: 32, space: 64, incrs: DAYS.map((days) => days * 86_400), values: (_, ticks) => ticks.map(short) },
      { ...axis, size: 58 },
    ],
    series: [{ label: "Day", value: (_, seconds) => (seconds == null ? "" : day(seconds)) }, ...series],
    bands,
  };
  const drawn = new uPlot(options, values, place);
  const canvas = place.querySelector("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title}, ${unit}. ${described}`);
  return drawn;
}

if (chart && typeof uPlot !== "undefined") {
  load();
  setInterval(() => document.hidden || load(), REFRESH_MS);
  new ResizeObserver(() => {
    for (const each of plots) each.setSize({ width: chart.clientWidth, height: each.height });
  }).observe(chart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
}
