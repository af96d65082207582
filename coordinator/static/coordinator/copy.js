// A button with `data-copy` copies the text of the element that the attribute names, or of the element before the button.
// What happened is shown in its icon and announced to screen readers.
"use strict";

const SHOWN_MS = 1500;

// Pages that are not served with HTTPS have no clipboard API.
function copySelected(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("The browser refused to copy.");
}

async function copy(button) {
  const source = button.dataset.copy ? document.getElementById(button.dataset.copy) : button.previousElementSibling;
  const icon = button.querySelector(".material-symbols-outlined");
  const spoken = document.getElementById("copied");
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(source.textContent);
    else copySelected(source.textContent);
    icon.textContent = "check";
    spoken.textContent = "Copied.";
  } catch {
    icon.textContent = "error";
    spoken.textContent = "The browser did not copy it.";
  }
  button.focus();
  setTimeout(() => {
    icon.textContent = "content_copy";
    spoken.textContent = "";
  }, SHOWN_MS);
}

document.addEventListener("DOMContentLoaded", () => {
  const spoken = document.createElement("p");
  spoken.id = "copied";
  spoken.className = "dc-hidden";
  spoken.setAttribute("aria-live", "polite");
  document.body.append(spoken);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
