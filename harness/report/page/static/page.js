"use strict";
// Sorting, filtering, the choice of figures and of the theme. Without scripts, the page shows all the same content.

const say = (text) => { document.getElementById("announce").textContent = text; };
const none = (text) => text === "–" || text === "";

// Sorting: the first number of a cell in columns of numbers, else its text; cells without a value come last.

function sortKey(cell, isNumber) {
  const text = cell.textContent.trim();
  if (!isNumber) return none(text) ? null : text.toLowerCase();
  const found = text.replace(/,(?=\d{3})/g, "").match(/[-+−]?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return found ? Number(found[0].replace("−", "-")) : null;
}

function holdsNumbers(table, column) {
  const texts = [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim()).filter((text) => !none(text));
  return texts.length > 0 && texts.every((text) => /^[-+−]?[\d.,]+$/.test(text));
}

function sortTable(table, column) {
  const headings = table.tHead.rows[0].cells;
  const heading = headings[column];
  const isNumber = !heading.classList.contains("t") || holdsNumbers(table, column);
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const direction = heading.getAttribute("aria-sort") === first ? second : first;
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[column], isNumber), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (isNumber ? a - b : a.localeCompare(b));
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of headings) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  say(`Sorted by ${heading.textContent}, ${direction}.`);
}

for (const table of document.querySelectorAll("table.data")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortTable(table, column));
    heading.append(button);
  });
}

// Filtering: rows that hold all words.

for (const input of document.querySelectorAll("input[data-filter]")) {
  const table = document.getElementById(input.dataset.filter);
  const count = input.closest(".tools").querySelector("output");
  const rows = [...table.tBodies[0].rows];
  input.closest(".tools").hidden = rows.length < 6;
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };
  for (const event of ["input", "change"]) input.addEventListener(event, filter);
}

// The overview's figures by candidate set, slice and metric, in units of 0.0001.

for (const explorer of document.querySelectorAll(".explorer")) {
  const table = document.getElementById(explorer.dataset.table);
  const data = JSON.parse(explorer.querySelector("script").textContent);
  const selects = [...explorer.querySelectorAll("select")];
  const rows = [...table.tBodies[0].rows];
  const columns = data[0].length;
  const original = rows.map((row) => [...row.cells].map((cell) => cell.innerHTML));
  const caption = table.caption.textContent;
  const place = () => selects.reduce((index, select) => index * select.length + select.selectedIndex, 0);
  selects.forEach((select) => select.addEventListener("change", () => {
    const index = place();
    const best = data[0].map((_, column) => Math.max(...data.map((row) => row[column][index] ?? -1)));
    rows.forEach((row, number) => {
      [...row.cells].slice(1).forEach((cell, column) => {
        if (index === 0) { cell.innerHTML = original[number][column + 1]; return; }
        const value = column < columns ? data[number][column][index] : null;
        const text = value === null ? "–" : (value / 10000).toFixed(4);
        (cell.querySelector("a") ?? cell).textContent = text;
        cell.style.fontWeight = value !== null && value === best[column] && column < columns - 1 ? "bold" : "normal";
      });
      if (index === 0) for (const cell of row.cells) cell.style.fontWeight = "";
    });
    const chosen = selects.map((select) => select.value);
    table.caption.textContent = index === 0 ? caption : `${chosen[2]} by method and scenario: ${chosen[0]} candidates, ${chosen[1]} users`;
    for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
    say(table.caption.textContent);
  }));
  explorer.hidden = false;
}

// A link to something within closed details opens them.

function reveal() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// Printing shows the scenarios; cards stay as they are.

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details.scenario, details.notes")) details.open = true;
});

// The theme: as the system, light, dark. It is kept where the browser lets a file keep something.

const themes = { "": "as the system", light: "light", dark: "dark" };
const button = document.getElementById("theme");
const keep = (name) => { try { localStorage.setItem("harness-theme", name); } catch { /* not kept */ } };
const kept = () => { try { return localStorage.getItem("harness-theme") ?? ""; } catch { return ""; } };

function show(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  button.textContent = `Theme: ${themes[name]}`;
}
button.addEventListener("click", () => {
  const names = Object.keys(themes);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
  show(next);
  keep(next);
});
show(kept() in themes ? kept() : "");
button.hidden = false;
