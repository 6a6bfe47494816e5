// Polls the tiles and replaces the old ones.
//
// The server renders them, so one place decides how a figure is shown. It also says when
// to poll again. A hidden page does not poll.

const live = document.getElementById("live");
const announcement = document.getElementById("announcement");
const PAUSES = [10, 20, 60];
const PATIENCE_MS = 20_000;

let timer;
let failures = 0;
let asking = false;

const status = () => live.querySelector(".status");

function schedule(seconds) {
  clearTimeout(timer);
  if (document.hidden) return;
  // Pages that were opened together should not poll together for ever. Never poll early:
  // a poll just before new figures are due gets the old ones again.
  timer = setTimeout(refresh, seconds * (1 + Math.random() * 0.05) * 1000);
}

async function refresh() {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch(live.dataset.source, {
      signal: AbortSignal.timeout(PATIENCE_MS),
      redirect: "manual",
    });
    if (answer.type === "opaqueredirect" || answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.text());
    failures = 0;
    schedule(Number(status().dataset.pollAfter));
  } catch {
    lose();
    schedule(PAUSES[Math.min(failures++, PAUSES.length - 1)]);
  } finally {
    asking = false;
  }
}

function show(html) {
  const before = status().dataset.state;
  // Who reads a hint goes on reading it.
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  live.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus();
  // One sentence, and only when something is different: not each figure, each time.
  if (status().dataset.state !== before) {
    announcement.textContent = status().dataset.summary;
  }
  tell();
}

function lose() {
  const shown = status();
  if (shown.dataset.state !== "lost") announcement.textContent = "Connection lost.";
  shown.className = "status error";
  shown.dataset.state = "lost";
  shown.querySelector("strong").textContent = "Connection lost";
  shown.querySelector(".message").textContent =
    "The panel does not answer. These are its last figures.";
  tell();
}

// How old the figures are.
function tell() {
  const read = live.querySelector("time[data-age]");
  if (!read) return;
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(read.dateTime)) / 1000));
  const age = seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  const zone = read.dataset.zone;
  const time = new Date(read.dateTime).toLocaleTimeString("en-GB", { timeZone: zone });
  read.textContent = `${time} ${zone}, ${age} ago`;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});
setInterval(tell, 1000);
tell();
schedule(Number(status().dataset.pollAfter));
