"use strict";

/* Plots, drawn by Chart.js in the colours of the page. */

const figures = { charts: [], drawn: null };

function showFigures() {
  if (figures.drawn !== data.figures) {
    redrawFigures();
  }
}

function redrawFigures() {
  for (const chart of figures.charts) {
    chart.destroy();
  }
  figures.charts = [];
  figures.drawn = null;
  if (byId("panel-numbers").hidden || !data.figures) {
    return; // a plot that is not seen has no size
  }
  figures.drawn = data.figures;
  byId("figures").replaceChildren(
    ...data.figures.map((figure) => {
      const canvas = make("canvas", { role: "img", "aria-label": figure.summary });
      const plot = make("div", { className: "plot" }, canvas);
      const node = make("div", { className: "figure" }, make("h3", {}, figure.title), plot);
      if (figure.table) {
        node.append(
          make(
            "details",
            {},
            make("summary", {}, "The numbers"),
            scrolling(figure.title, tableOf({ title: figure.title, ...figure.table })),
          ),
        );
      }
      figures.charts.push([canvas, figure]);
      return node;
    }),
  );
  figures.charts = figures.charts.map(([canvas, figure]) => chartOf(canvas, figure));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const seriesColours = () => [1, 2, 3, 4].map((i) => colour(`--series-${i}`));

function axis(title, more = {}) {
  return {
    title: { display: true, text: title, color: colour("--quiet") },
    ticks: { color: colour("--quiet") },
    grid: { color: colour("--grid"), display: true },
    ...more,
  };
}

function chartOf(canvas, figure) {
  const options = {
    animation: false,
    maintainAspectRatio: false,
    plugins: {
      legend: { display: figure.series.length > 1, labels: { color: colour("--ink") } },
      tooltip: { callbacks: {} },
    },
    scales: { x: axis(figure.x), y: axis(figure.y, { beginAtZero: figure.kind !== "scatter" }) },
  };
  const kinds = { histogram: histogram, bars: bars, scatter: scatter, line: line };
  const { type, data: shown } = kinds[figure.kind](figure, options);
  return new Chart(canvas, { type, data: shown, options });
}

function histogram(figure, options) {
  const { edges } = figure;
  const ends = (i) => `${digits(edges[i])} to ${digits(edges[i + 1])}`;
  options.plugins.tooltip.callbacks.title = ([{ dataIndex }]) => ends(dataIndex);
  options.scales.x.grid.display = false;
  const colours = seriesColours();
  const datasets = figure.series.map(({ name, values }, s) => ({
    label: name,
    data: values,
    backgroundColor: figure.series.length > 1 ? `${colours[s]}99` : colours[s],
    barPercentage: 1,
    categoryPercentage: 0.94,
    grouped: false,
  }));
  const labels = edges.slice(1).map((edge, i) => digits((edge + edges[i]) / 2));
  return { type: "bar", data: { labels, datasets } };
}

function bars(figure) {
  const colours = seriesColours();
  const datasets = figure.series.map(({ name, values }, s) => ({
    label: name,
    data: values,
    backgroundColor: colours[s],
    maxBarThickness: 48,
  }));
  return { type: "bar", data: { labels: figure.labels, datasets } };
}

function scatter(figure, options) {
  const colours = seriesColours();
  const datasets = figure.series.map(({ name, values, keys }, s) => ({
    label: name,
    data: values.map(([x, y], i) => ({ x, y, key: keys[i] })),
    backgroundColor: `${colours[s]}b0`,
    pointRadius: 3,
    pointHoverRadius: 6,
  }));
  if (figure.diagonal) {
    const [low, high] = figure.diagonal;
    datasets.push({
      label: "equal",
      type: "line",
      data: [
        { x: low, y: low },
        { x: high, y: high },
      ],
      borderColor: colour("--quiet"),
      borderDash: [4, 4],
      borderWidth: 1,
      pointRadius: 0,
    });
    options.plugins.legend.display = true;
    options.plugins.legend.labels.usePointStyle = true;
  }
  const rowAt = (points) => {
    const [point] = points;
    const key = point && datasets[point.datasetIndex].data[point.index ?? point.dataIndex].key;
    return key && data.rows.find((row) => row.key === key);
  };
  options.onClick = (_, points) => {
    const row = rowAt(points);
    if (row) {
      openViewer(row);
    }
  };
  options.plugins.tooltip.callbacks.afterLabel = (item) =>
    rowAt([item]) ? "click: see the pictures" : "";
  return { type: "scatter", data: { datasets } };
}

function line(figure) {
  const colours = seriesColours();
  const datasets = figure.series.map(({ name, values }, s) => ({
    label: name,
    data: values.map(([x, y]) => ({ x, y })),
    borderColor: colours[s],
    backgroundColor: colours[s],
    borderWidth: 2,
    pointRadius: 0,
    showLine: true,
    stepped: false,
  }));
  return { type: "scatter", data: { datasets } };
}
