// Creates or uses a passkey when its form is submitted, and sends what the browser returns as `credential`.
"use strict";
(() => {
  const form = document.querySelector("form[data-passkey]");
  const problem = form.querySelector("[data-problem]");
  const { publicKey: options } = JSON.parse(form.dataset.options);

  async function credential() {
    if (!window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
      throw new Error("This browser cannot use passkeys here. They need a recent browser and HTTPS.");
    }
    if (form.dataset.passkey === "create") {
      return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
    }
    return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  }

  function reason(error) {
    if (error.name === "InvalidStateError") return "You have added this passkey already.";
    if (error.name === "NotAllowedError") return "You cancelled it, it took too long, or there is no passkey. Try again.";
    if (error.name === "SecurityError") return "Passkeys need an address with a host name and HTTPS.";
    return error.message;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify(await credential());
      form.submit();
    } catch (error) {
      problem.textContent = reason(error);
      problem.hidden = false;
    }
  });
})();
