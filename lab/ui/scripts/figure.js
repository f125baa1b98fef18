// Draws props.value (a plotly figure as JSON) into the same element again and again.
const box = element.querySelector(".figure");

const library = () =>
  new Promise((resolve) => {
    const look = () => (window.Plotly ? resolve(window.Plotly) : setTimeout(look, 50));
    look();
  });

// Text and grid in the page's colours; what a figure sets itself stays.
const themed = (layout) => {
  const style = getComputedStyle(element);
  const color = (name) => style.getPropertyValue(name).trim();
  const [words, lines] = [color("--body-text-color"), color("--border-color-primary")];
  const axis = { gridcolor: lines, zerolinecolor: lines, linecolor: lines, automargin: true };
  const out = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true };
  out.font = { size: 12, ...(layout.font || {}), color: words, family: style.fontFamily };
  out.hoverlabel = { bgcolor: color("--background-fill-primary"), bordercolor: lines, font: { color: words } };
  out.legend = { ...(layout.legend || {}), bgcolor: "rgba(0,0,0,0)" };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout)])) {
    if (/^[xy]axis\d*$/.test(name)) out[name] = { ...axis, ...(layout[name] || {}) };
  }
  delete out.template;
  return out;
};

let last = Promise.resolve();
const draw = () => {
  last = last.then(async () => {
    const Plotly = await library();
    if (!props.value) {
      Plotly.purge(box);
      return;
    }
    const figure = JSON.parse(props.value);
    const options = { displaylogo: false, displayModeBar: false, responsive: false, scrollZoom: false };
    await Plotly.react(box, figure.data, themed(figure.layout), options);
  });
};

draw();
watch("value", draw);
new ResizeObserver(() => {
  if (box.offsetWidth && box.data) window.Plotly.Plots.resize(box);
}).observe(box);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
