// Uploads large artifact files directly to the artifact store, and then submits the upload form without them.
// The digests come from the descriptor. The coordinator hashes the uploaded bytes.
(() => {
  const form = document.getElementById("upload-form");
  if (!form || !form.dataset.direct) return;
  const least = Number(form.dataset.directBytes);
  const bar = document.getElementById("direct-progress");
  const status = document.getElementById("direct-status");
  const STORED = new Set(["jar", "local-file", "native-binary", "lambda-zip", "application-archive", "compiled-truth"]);
  const FAILURES = 6;
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  form.addEventListener("submit", (event) => {
    const large = Array.from(form.elements.artifacts.files).filter((file) => file.size >= least);
    if (!large.length) return;
    event.preventDefault();
    run(large).catch((error) => {
      status.textContent = `${error.message} Press Upload to resume.`;
      window.dispatchEvent(new Event("pageshow")); // enables the button again
    });
  });

  async function run(large) {
    const digests = named(JSON.parse(await form.elements.descriptor.files[0].text()), large);
    const sent = [];
    for (const [file, digest] of digests) {
      await send(file, digest);
      sent.push(file);
    }
    const rest = new DataTransfer();
    for (const file of form.elements.artifacts.files) if (!sent.includes(file)) rest.items.add(file);
    form.elements.artifacts.files = rest.files;
    form.submit();
  }

  // A file belongs to the artifact whose uri ends with its name. Files of no artifact are sent with the form.
  function named(descriptor, files) {
    const found = new Map();
    for (const file of files) {
      const artifact = (descriptor.artifacts || []).find(
        (each) => STORED.has(String(each.kind).toLowerCase()) && String(each.uri).split("/").pop() === file.name,
      );
      if (artifact) found.set(file, artifact.digest);
    }
    return found;
  }

  async function send(file, digest) {
    const body = new FormData();
    body.append("digest", digest);
    body.append("size", String(file.size));
    const base = `${form.dataset.direct}${encodeURIComponent(form.elements.tenant.value)}/`;
    let upload = await call("POST", base, body);
    const address = `${base}${upload.uploadId}/`;
    let failures = 0;
    while (upload.status === "OPEN") {
      if (!upload.missing.length) {
        upload = await call("POST", address);
        continue;
      }
      let done = upload.received;
      try {
        for (const part of upload.missing) {
          await put(part, file, done);
          done += part.size;
          failures = 0;
        }
      } catch (error) {
        failures += 1;
        if (failures >= FAILURES) throw error;
        await pause(250 * 2 ** failures);
      }
      upload = await call("GET", address);
    }
    while (upload.status === "VERIFYING") {
      status.textContent = `${file.name} was uploaded and is being verified`;
      await pause(500);
      upload = await call("GET", address);
    }
    if (upload.status !== "STORED") {
      throw new Error(`${file.name} is ${upload.status}: ${upload.finding ? upload.finding.message : "upload it again"}.`);
    }
  }

  async function call(method, address, body) {
    const headers = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    const response = await fetch(address, { method, body, headers, redirect: "error" });
    const document = await response.json().catch(() => ({ title: `The coordinator responded with status ${response.status}` }));
    if (!response.ok) throw new Error(`${document.title}.`);
    return document;
  }

  function put(part, file, done) {
    return new Promise((sent, failed) => {
      const request = new XMLHttpRequest();
      request.open("PUT", part.url);
      request.upload.onprogress = (event) => show(file, done + event.loaded);
      request.onload = () => (request.status === 200 ? sent() : failed(new Error(`The artifact store responded with status ${request.status}.`)));
      request.onerror = () => failed(new Error("The artifact store cannot be reached."));
      request.send(file.slice(part.offset, part.offset + part.size));
    });
  }

  function show(file, done) {
    bar.hidden = false;
    bar.max = file.size;
    bar.value = done;
    status.textContent = `${file.name}: ${Math.floor((100 * done) / file.size)} % of ${(file.size / 2 ** 20).toFixed(1)} MiB`;
  }
})();
