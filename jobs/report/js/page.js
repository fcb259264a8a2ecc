"use strict";

/* The page: its head, its tabs, light and dark. The last script, which starts the others. */

const TABS = [
  ["gallery", "Gallery", () => true],
  ["numbers", "Numbers", () => data.figures?.length || data.tables?.length],
  ["failures", "Failures", () => data.failures?.length],
  ["job", "Job", () => data.job],
];

function showHead() {
  document.title = `${data.title} · DiffPIR report`;
  byId("title").textContent = data.title;
  byId("summary").textContent = data.summary;
  showProgress();
  byId("note").textContent = data.note;
  byId("made").textContent = `Made ${data.made} by DiffPIR-on-Ray.`;
  byId("tiles").replaceChildren(
    ...data.tiles.map(({ label, value, unit }) =>
      make(
        "div",
        {},
        make("dt", {}, label),
        make("dd", {}, digits(value), make("small", {}, unit ? ` ${unit}` : "")),
      ),
    ),
  );
}

function showTabs() {
  const there = TABS.filter(([, , wanted]) => wanted());
  byId("tabs").replaceChildren(
    ...there.map(([name, text]) => {
      const tab = make("button", {
        type: "button",
        role: "tab",
        id: `tab-${name}`,
        "aria-controls": `panel-${name}`,
      });
      tab.textContent = name === "failures" ? `${text} (${failureCount()})` : text;
      tab.addEventListener("click", () => selectTab(name));
      return tab;
    }),
  );
  selectTab(there.some(([name]) => name === selectTab.current) ? selectTab.current : "gallery");
}

const failureCount = () => data.failures.reduce((sum, kind) => sum + kind.count, 0);

function selectTab(name) {
  selectTab.current = name;
  for (const tab of byId("tabs").children) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  for (const [other] of TABS) {
    byId(`panel-${other}`).hidden = other !== name;
  }
  if (name === "numbers") {
    showFigures();
  }
}

function tabKey(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const tabs = [...byId("tabs").children];
  const at = tabs.indexOf(document.activeElement);
  if (by && at >= 0) {
    const next = tabs[(at + by + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"}`);
  redrawFigures();
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });
}

function showFailures() {
  const kinds = (data.failures ?? []).map((kind) =>
    box(
      `${kind.kind}: ${kind.count.toLocaleString("en")}`,
      tableOf({
        title: `Examples of ${kind.kind}`,
        columns: ["Id", "What happened"],
        numeric: [false, false],
        rows: kind.examples,
      }),
    ),
  );
  if (kinds.length && data.retry) {
    const text = "To restore the failed images once more, start the same job with this option:";
    kinds.unshift(box("Try them again", make("p", {}, text), make("pre", {}, data.retry)));
  }
  byId("failures").replaceChildren(...kinds);
}

function showJob() {
  const jobs = (data.job ?? []).map(({ title, text }) => box(title, make("pre", {}, text)));
  byId("job").replaceChildren(...jobs);
}

function showTables() {
  byId("tables").replaceChildren(
    ...(data.tables ?? []).map((table) => box(table.title, scrolling(table.title, tableOf(table)))),
  );
}

function showAll() {
  showHead();
  showTables();
  showFailures();
  showJob();
  showTabs();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=range], [type=radio]), select, textarea");
  if (event.key === "/" && !typing && !byId("viewer").open) {
    event.preventDefault();
    selectTab("gallery");
    byId("search").focus();
  }
});
byId("tabs").addEventListener("keydown", tabKey);
startGallery();
startViewer();
showAll();
startTheme();
