"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // figures take the page's colours; what a figure sets itself beyond that stays
  const themed = (layout) => {
    const colours = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { ...layout.font, color: css("--text"), family: css("--sans") },
    };
    const axes = {};
    const names = new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k))]);
    for (const name of names) {
      axes[name] = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), ...layout[name] };
      if (axes[name].minor) axes[name].minor = { gridcolor: css("--line"), ...axes[name].minor };
    }
    const hover = { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--text") } };
    return { ...layout, ...colours, ...axes, hoverlabel: { ...hover, ...layout.hoverlabel }, autosize: true, width: undefined };
  };

  const draw = (box) => {
    const figure = JSON.parse(box.nextElementSibling.textContent);
    const settings = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
    Plotly.react(box, figure.data, themed(figure.layout || {}), settings)
      .then(() => figure.frames && !box.dataset.frames && Plotly.addFrames(box, figure.frames))
      .then(() => { box.dataset.frames = "1"; });
  };
  const drawAll = () => document.querySelectorAll(".figure").forEach(draw);

  if (document.querySelector(".figure")) {
    if (window.Plotly) {
      drawAll();
      dark.addEventListener("change", drawAll);
    } else {
      document.querySelectorAll(".figure").forEach((box) => {
        box.textContent = "This figure needs assets/plotly.min.js: keep the report folder together.";
      });
    }
  }

  const toggle = document.getElementById("show-code");
  if (toggle) {
    toggle.addEventListener("change", () => {
      document.querySelectorAll("details.code").forEach((box) => { box.open = toggle.checked; });
    });
  }
})();
