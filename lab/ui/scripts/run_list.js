// Tells the page which run was opened, or ticked to be drawn with others.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-run]");
  if (button) trigger("select", { run: button.dataset.run, tick: button.getAttribute("role") === "checkbox" });
});
