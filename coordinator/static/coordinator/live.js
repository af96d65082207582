// Parts of a page that are loaded again are morphed, so that the keyboard focus, open details and scroll positions stay.
// Times say how long ago they are, also while the page stays open. Tables become cards on narrow screens, and scrollable parts can be reached by keyboard.
"use strict";

const KEPT = new Set(["tabindex", "role", "aria-hidden", "aria-label", "data-label", "data-empty"]);

// What a person opened stays open, what Alpine.js shows or hides stays so, and what `prepare` set stays set.
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, type) =>
  !(name === "open" && node instanceof HTMLDetailsElement) &&
  !(name === "style" && node.hasAttribute("x-show")) &&
  !(type === "remove" && KEPT.has(name)) &&
  !(name === "class" && node.classList.contains("dc-cards"));

function labelCells(table) {
  const labels = Array.from(table.querySelectorAll("thead th"), (heading) => heading.textContent.trim());
  for (const row of table.tBodies[0]?.rows ?? []) {
    Array.from(row.cells).forEach((cell, column) => cell.setAttribute("data-label", labels[column] ?? ""));
  }
  table.classList.add("dc-cards");
}

function capitalizeLabel(cell) {
  const label = cell.dataset.label;
  cell.dataset.label = label.charAt(0).toUpperCase() + label.slice(1);
}

function markEmpty(cell) {
  cell.toggleAttribute("data-empty", ["", "-"].includes(cell.textContent.trim()) && !cell.querySelector("a, button, input, svg, img"));
}

function nameScrollable(part) {
  if (part.scrollWidth <= part.clientWidth && part.scrollHeight <= part.clientHeight) return;
  const heading = part.closest("section, .rounded-default")?.querySelector("h2, h3")?.textContent.trim();
  part.setAttribute("tabindex", "0");
  part.setAttribute("role", "region");
  part.setAttribute("aria-label", heading ? `${heading}, scrollable` : "Scrollable content");
}

function prepare(root) {
  root.querySelectorAll("table.dc-table").forEach(labelCells);
  root.querySelectorAll("#result_list [data-label]").forEach(capitalizeLabel);
  root.querySelectorAll(".dc-table td, #result_list td").forEach(markEmpty);
  root.querySelectorAll(".dc-scroll, .dc-json").forEach(nameScrollable);
  // Unfold's icons are words, which screen readers would read.
  root.querySelectorAll(".material-symbols-outlined").forEach((icon) => icon.setAttribute("aria-hidden", "true"));
}

// The same rule as `relative` in foundation/admin/columns.py.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function relative(at, now) {
  const distance = Math.floor(Math.abs(now - at) / 1000);
  const [name, unit] = UNITS.find(([, seconds]) => distance >= 2 * seconds) ?? UNITS.at(-1);
  return at <= now ? `${Math.floor((distance + unit / 2) / unit)} ${name} ago` : `in ${Math.floor(distance / unit)} ${name}`;
}

function moveTimes() {
  for (const time of document.querySelectorAll("time:has(> .dc-ago)")) {
    const shown = time.querySelector(".dc-ago");
    const text = relative(Date.parse(time.dateTime), Date.now());
    if (shown.textContent !== text) shown.textContent = text;
  }
}

// A part that comes after its page (the tag `later`). After a failure its link tries again. Focus stays in the part.
function tellLater(event) {
  const part = event.detail.target;
  if (!part?.matches("[data-later-part]")) return;
  const loads = event.type === "htmx:beforeRequest";
  const failed = !loads && !event.detail.successful;
  const state = loads ? "is loading" : failed ? "could not be loaded" : "is shown";
  part.setAttribute("aria-busy", String(loads));
  part.closest("[data-later]").querySelector("[data-later-state]").textContent = `${part.dataset.name} ${state}.`;
  const text = part.querySelector("[data-later-text]");
  if (text) text.textContent = `This part ${state}.`;
  const link = part.querySelector("[data-later-link]");
  if (link && failed) link.textContent = "Try again";
  if (loads) part.toggleAttribute("data-focused", part.contains(document.activeElement));
  else if (!failed && part.hasAttribute("data-focused")) part.focus();
}

// An element that htmx sends or loads stays as it is if the request fails. Its child `data-failed` says so.
function tellFailed(event) {
  const notice = event.detail.elt.querySelector(":scope > [data-failed]");
  if (notice) notice.hidden = event.detail.successful;
}

document.addEventListener("htmx:beforeRequest", tellLater);
document.addEventListener("htmx:afterRequest", tellLater);
document.addEventListener("htmx:afterRequest", tellFailed);
document.addEventListener("DOMContentLoaded", () => prepare(document));
document.addEventListener("htmx:afterSettle", () => prepare(document));
window.addEventListener("resize", () => prepare(document));
setInterval(moveTimes, 1000);
