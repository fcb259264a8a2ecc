"use strict";

/* A page whose run is at work: asks its server now and then, and keeps what is being looked at. */

const ASK_SECONDS = 3;

function showProgress() {
  const { progress, trouble } = data;
  byId("progress").hidden = !progress;
  if (!progress) {
    return;
  }
  const { state, rows, done, rate, left, disks } = progress;
  const words = [`${state}: ${done.toLocaleString("en")} of ${rows.toLocaleString("en")} images`];
  if (rate) {
    words.push(`${digits(rate)} images per second`, `${duration(left)} left`);
  }
  for (const [host, free] of disks) {
    words.push(`${digits(free)} GiB of disk free on ${host}`);
  }
  const bar = make("div");
  bar.style.width = `${(100 * done) / Math.max(1, rows)}%`;
  const meter = make("div", {
    className: "meter",
    role: "progressbar",
    "aria-label": "Images done",
    "aria-valuemin": 0,
    "aria-valuemax": rows,
    "aria-valuenow": done,
  });
  meter.append(bar);
  byId("progress").replaceChildren(
    meter,
    make("p", { className: "quiet", role: "status" }, words.join(" · ")),
    ...(trouble ? [make("p", { className: "warning" }, `⚠ ${trouble}`)] : []),
  );
}

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${seconds} s`;
}

/** Show what a server has sent. Rows that were there stay as they are. */
function takeNews(next) {
  const known = new Map(data.rows.map((row) => [row.key, row]));
  const focused = document.activeElement;
  data = { ...next, rows: next.rows.map((row) => known.get(row.key) ?? row) };
  prepareRows();
  chooseModes();
  sortChoices();
  orderChoices();
  showAll();
  showGallery();
  if (focused?.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

/** What the server has that this page has not; null for nothing, undefined without an answer. */
async function news() {
  try {
    const answer = await fetch(`data.json?after=${data.version}`);
    return answer.status === 200 ? await answer.json() : answer.status === 204 ? null : undefined;
  } catch {
    return undefined;
  }
}

async function askForNews() {
  const next = await news();
  if (next) {
    takeNews(next);
  } else if (next === null && data.silent) {
    showProgress();
  } else if (next === undefined) {
    byId("progress").lastElementChild.textContent =
      "The server does not answer: the page shows what it was last told.";
  }
  data.silent = next === undefined;
  setTimeout(askForNews, ASK_SECONDS * 1000);
}

if (data.version) {
  setTimeout(askForNews, ASK_SECONDS * 1000);
}
