"use strict";
// A cell as a spreadsheet may have it: a figure as a plain number, and no text that would be a formula there.
const textOf = (cell) => {
  if (cell.tagName === "TD" && cell.dataset.value !== undefined) return cell.dataset.value;
  const text = (cell.dataset.value ?? cell.textContent).replace(/[\t\r\n]+/g, " ");
  return /^[\s]*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(text) ? `'${text}` : text;
};
// Copies the table of a chart as text that spreadsheets take.
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", () => {
    const table = button.parentElement.querySelector("table");
    const rows = [...table.rows].map((row) => [...row.cells].map(textOf).join("\t"));
    const area = document.createElement("textarea");
    area.value = rows.join("\n");
    button.after(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    button.nextElementSibling.textContent = copied ? " Copied." : " Select the table to copy it.";
  });
}
// Leaves the rows that contain what is typed.
for (const input of document.querySelectorAll("input.filter")) {
  input.parentElement.hidden = false;
  const rows = document.getElementById(input.dataset.table).tBodies[0].rows;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
