// A range over the exponent beside a field with the number itself; props.value is the number, or null.
const range = element.querySelector("input[type=range]");
const field = element.querySelector("input[type=text]");
const digits = (number) => Number(number.toPrecision(2));
const words = (number) => (number >= 0.001 ? String(number) : number.toExponential());

const show = () => {
  const value = props.value;
  const known = typeof value === "number" && value > 0;
  field.value = value === null || value === undefined ? "" : known ? words(value) : String(value);
  if (known) range.value = Math.log10(value);
  range.setAttribute("aria-valuetext", field.value || field.placeholder);
};

const set = (value) => {
  props.value = value;
  show();
};

range.addEventListener("input", () => set(digits(10 ** Number(range.value))));
field.addEventListener("change", () => {
  const typed = field.value.trim();
  set(typed === "" ? null : Number.isFinite(Number(typed)) ? Number(typed) : typed);
});
show();
watch("value", show);
