// The command palette. Ctrl+K (or Cmd+K) opens it; the arrow keys choose a result, and Enter opens its page. The focus
// stays in the field, as the combobox pattern of ARIA prescribes.
"use strict";

const WAIT_MS = 150;

function palette(dialog) {
  const term = dialog.querySelector("#palette-term");
  const place = dialog.querySelector("#palette-found");
  let newest = 0;
  let timer;
  let pending = Promise.resolve();

  const options = () => [...place.querySelectorAll("[role=option]")];
  const chosen = () => place.querySelector("[aria-selected=true]");

  function choose(option) {
    if (!option) return term.removeAttribute("aria-activedescendant");
    for (const each of options()) each.setAttribute("aria-selected", String(each === option));
    term.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  // Loads the results of what is typed now. The response to an earlier search is dropped.
  async function load() {
    clearTimeout(timer);
    const number = ++newest;
    const address = `${dialog.dataset.search}?part=1&q=${encodeURIComponent(term.value)}`;
    const answer = await fetch(address, { redirect: "manual" });
    if (!answer.ok) return location.assign(dialog.dataset.search);
    const text = await answer.text();
    if (number !== newest) return;
    place.innerHTML = text;
    choose(chosen());
  }

  function soon() {
    newest += 1;
    clearTimeout(timer);
    pending = new Promise((done) => {
      timer = setTimeout(() => done(load()), WAIT_MS);
    });
  }

  function move(step) {
    const all = options();
    if (all.length) choose(all[(all.indexOf(chosen()) + step + all.length) % all.length]);
  }

  function open() {
    if (dialog.open) return;
    term.value = "";
    place.textContent = "";
    dialog.showModal();
    term.focus();
    pending = load();
  }

  async function go() {
    await pending;
    const option = chosen();
    if (option) location.assign(option.dataset.address);
  }

  term.addEventListener("input", soon);
  term.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else if (event.key === "Enter") go();
    else return;
    event.preventDefault();
  });
  place.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) location.assign(option.dataset.address);
  });
  dialog.querySelector("#palette-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else open();
  });
  document.getElementById("palette-open")?.addEventListener("click", (event) => {
    event.preventDefault();
    open();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const dialog = document.getElementById("palette");
  if (dialog) palette(dialog);
});
