"use strict";

/* The sampler at work: what the network saw at some steps, before and after the data step. */

const PLAY_SECONDS = 0.7; // of a step

function processOf(row) {
  const stage = make("div", { className: "stage side" });
  stage.style.setProperty("--shape", shapeOf(row));
  stage.style.setProperty("--panes", 2);
  const range = make("input", {
    type: "range",
    min: 0,
    max: row.steps.length - 1,
    value: row.steps.length - 1,
    "aria-label": "Step of the sampler",
  });
  const told = make("span");
  const play = make("button", { type: "button", className: "plain" }, "Play");
  const strip = make("div", {
    className: "strip",
    tabIndex: 0,
    role: "group",
    "aria-label": "All steps",
  });
  strip.append(
    ...row.steps.map((step) => {
      const figure = pane(step.label, image(row, step.after ?? step.before));
      figure.firstChild.style.setProperty("--shape", shapeOf(row));
      return figure;
    }),
  );

  const show = () => {
    const { label, before, after } = row.steps[range.value];
    const panes = [pane(before.label, image(row, before))];
    if (after) {
      panes.push(pane(after.label, image(row, after)));
    } else {
      panes.push(pane("Restored", image(row, pictureOf(row, "restored") ?? before)));
    }
    stage.replaceChildren(...panes);
    told.textContent = `${Number(range.value) + 1} of ${row.steps.length}: ${label}`;
    [...strip.children].forEach((figure, i) => {
      figure.classList.toggle("now", i === Number(range.value));
    });
  };
  let timer = null;
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (timer) {
      pause();
      return;
    }
    range.value = Number(range.value) >= row.steps.length - 1 ? 0 : range.value;
    show();
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (!stage.isConnected || Number(range.value) >= row.steps.length - 1) {
        pause();
        return;
      }
      range.value = Number(range.value) + 1;
      show();
    }, PLAY_SECONDS * 1000);
  });
  range.addEventListener("input", () => {
    pause();
    show();
  });
  [...strip.children].forEach((figure, i) => {
    figure.addEventListener("click", () => {
      pause();
      range.value = i;
      show();
    });
  });
  show();
  return make("div", {}, stage, make("div", { className: "control" }, play, range, told), strip);
}
