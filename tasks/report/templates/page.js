"use strict";
// In a page of both languages: what is no text in an element of its own.
if (document.documentElement.lang.startsWith("zh")) {
  for (const node of document.querySelectorAll("[data-zh]")) {
    for (const { name, value } of Array.from(node.attributes)) {
      if (name === "data-zh-text") node.textContent = value;
      else if (name.startsWith("data-zh-")) node.setAttribute(name.slice("data-zh-".length), value);
    }
  }
}
// Searches the samples: a row is shown if it contains every word of the query.
(() => {
  const AT_ONCE = 25;
  const list = document.getElementById("sample-rows");
  if (!list) return;
  const [search, query, found, more] = ["search", "query", "found", "more"].map((id) =>
    document.getElementById(id),
  );
  const fold = (text) => text.normalize("NFKC").toLowerCase();
  const textOf = (node, parts) =>
    fold(Array.from(node.querySelectorAll(parts), (one) => one.textContent).join("\n"));
  const rows = Array.from(list.children, (node) => ({
    node,
    text: textOf(node, ".text"),
    inSight: textOf(node, ".text:not(details .text)"),
  }));
  const number = new Intl.NumberFormat("en");
  let limit = AT_ONCE;

  const show = () => {
    const words = fold(query.value).split(/\s+/).filter(Boolean);
    const isIn = (text) => words.every((word) => text.includes(word));
    const matching = rows.filter(({ text }) => isIn(text));
    const shown = new Set(matching.slice(0, limit));
    for (const row of rows) {
      row.node.hidden = !shown.has(row);
      if (!shown.has(row) || isIn(row.inSight)) continue;
      for (const details of row.node.querySelectorAll("details")) details.open = true;
    }
    const numbers = { all: rows.length, hits: matching.length, now: shown.size };
    const { every, some, none } = found.dataset;
    const told = matching.length ? (words.length ? some : every) : none;
    found.textContent = told.replace(/{(\w+)}/g, (_, name) => number.format(numbers[name]));
    more.hidden = shown.size === matching.length;
  };
  query.addEventListener("input", (event) => {
    if (event.isComposing) return; // an input method has not produced the characters yet
    limit = AT_ONCE;
    show();
  });
  query.addEventListener("compositionend", () => {
    limit = AT_ONCE;
    show();
  });
  more.addEventListener("click", () => {
    limit += AT_ONCE;
    show();
  });
  search.hidden = false;
  show();
})();
