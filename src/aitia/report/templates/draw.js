"use strict";
// Colours of text and grid come from the page's style sheet, so that light, dark and print need no redrawing.
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { displayModeBar: false, responsive: true, plotlyServerURL: "" };
for (const [name, figure] of Object.entries(figures)) {
  const place = document.getElementById(name);
  Plotly.newPlot(place, figure.data, figure.layout, options).then(() => place.classList.add("drawn"));
}
const button = document.getElementById("copy");
if (button) {
  const text = document.getElementById("commands");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
}
window.addEventListener("beforeprint", () => Object.keys(figures).forEach((name) => Plotly.Plots.resize(name)));
