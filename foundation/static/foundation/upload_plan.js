// The upload page reads the chosen descriptor, says which files it still wants, and shows the progress of each file.
// A descriptor is not trusted: what it says is bounded, and shown as text only. The coordinator verifies everything.
(() => {
  "use strict";
  const form = document.getElementById("upload-form");
  const plan = document.getElementById("upload-plan");
  if (!form || !plan) return;
  const status = document.getElementById("upload-status");
  const STORED = new Set(["jar", "local-file", "native-binary", "lambda-zip", "application-archive", "compiled-truth"]);
  const MOST_BYTES = 2 ** 20;
  const MOST_ARTIFACTS = 100;
  const LONGEST_TEXT = 200;
  const MOST_HASHED_BYTES = 256 * 2 ** 20;
  const digests = new WeakMap();
  const bars = new Map();
  let turn = 0;

  const text = (value) => (typeof value === "string" ? value.slice(0, LONGEST_TEXT) : "");
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  // Return what a JSON object is that is no release descriptor, and where the form takes it.
  function kindOf(object) {
    if (Array.isArray(object.steps)) return "a contract document: choose it as Contract document";
    if ("payloadType" in object) return "a signature envelope: choose it as Signature, provenance, SBOM";
    if ("_type" in object) return "an in-toto statement: choose it as Signature, provenance, SBOM";
    if ("bomFormat" in object || "spdxVersion" in object) return "an SBOM: choose it as Signature, provenance, SBOM";
    return "";
  }

  async function read(file) {
    if ((await file.slice(0, 2).text()) === "PK") {
      throw new Error(`${text(file.name)} is an archive, not a release descriptor: choose it as an artifact file.`);
    }
    if (file.size > MOST_BYTES) throw new Error("This file is too large for a release descriptor.");
    let descriptor;
    try {
      descriptor = JSON.parse(await file.text());
    } catch {
      throw new Error("This file is not JSON, so it is not a release descriptor.");
    }
    if (!isObject(descriptor) || !Array.isArray(descriptor.artifacts)) {
      const kind = isObject(descriptor) && kindOf(descriptor);
      const why = kind ? `It is ${kind}.` : "It has no list of artifacts.";
      throw new Error(`This file is not a release descriptor. ${why}`);
    }
    return {
      pipeline: text(descriptor.pipelineId),
      version: text(descriptor.releaseVersion),
      artifacts: descriptor.artifacts.filter(isObject).slice(0, MOST_ARTIFACTS).map(artifactOf),
      more: Math.max(0, descriptor.artifacts.length - MOST_ARTIFACTS),
    };
  }

  function artifactOf(each) {
    const uri = typeof each.uri === "string" ? each.uri : "";
    return {
      id: text(each.artifactId),
      file: text(uri.split("/").pop()),
      digest: text(each.digest).toLowerCase(),
      isStored: STORED.has(text(each.kind).toLowerCase()),
      isInRepository: uri.startsWith("maven:"),
    };
  }

  // Return the digest of a file; "" if the browser cannot compute it.
  function digestOf(file) {
    if (!window.crypto?.subtle || file.size > MOST_HASHED_BYTES) return "";
    if (!digests.has(file)) {
      const hash = async () => {
        const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
        return `sha256:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
      };
      digests.set(file, hash().catch(() => ""));
    }
    return digests.get(file);
  }

  // Return what an artifact has and needs: a sentence, the file that was given, and whether a file is still wanted.
  function standing(artifact, given) {
    const same = given.find((each) => each.digest && each.digest === artifact.digest);
    const named = given.find((each) => each.file.name === artifact.file);
    if (same) return { says: "chosen, digest matches", file: same.file };
    if (named && !named.digest) return { says: "chosen; the coordinator checks its digest", file: named.file };
    if (named) return { says: "another file: its digest differs", file: named.file, wanted: true, differs: true };
    if (!artifact.isStored) return { says: "needs no file" };
    if (artifact.isInRepository) return { says: "the coordinator fetches it from its repository" };
    return { says: "missing", wanted: true };
  }

  async function show() {
    const mine = ++turn;
    const [chosen] = form.elements.descriptor.files;
    const files = Array.from(form.elements.artifacts.files);
    try {
      const found = chosen ? await read(chosen) : null;
      const given = await Promise.all(files.map(async (file) => ({ file, digest: await digestOf(file) })));
      if (mine === turn) draw(found, given);
    } catch (error) {
      if (mine === turn) clear(error.message);
    }
  }

  // Show what is wrong, and let nothing be uploaded while the coordinator would refuse it.
  function say(message, isRefused = false) {
    status.textContent = message;
    window.dispatchEvent(new CustomEvent("upload-refused", { detail: isRefused }));
  }

  function clear(message) {
    plan.hidden = true;
    bars.clear();
    say(message, message !== "");
  }

  function draw(found, given) {
    if (!found) {
      clear("");
      return;
    }
    const rows = found.artifacts.map((artifact) => ({ artifact, ...standing(artifact, given) }));
    const used = new Set(rows.map((row) => row.file));
    const strays = given.filter((each) => !used.has(each.file));
    bars.clear();
    plan.querySelector("[data-identity]").textContent = `Release ${found.version || "without a version"} of ${found.pipeline || "no pipeline"}`;
    plan.querySelector("tbody").replaceChildren(
      ...rows.map((row) => line(row.artifact.id, row.artifact.file, row.artifact.digest, row.says, row.file, row.wanted)),
      ...strays.map((each) => line("", each.file.name, each.digest, "belongs to no artifact of the descriptor", each.file, true)),
    );
    plan.hidden = false;
    const wanted = rows.filter((row) => row.wanted).map((row) => row.artifact.file || row.artifact.id);
    const more = found.more ? ` ${found.more} more artifacts are not shown.` : "";
    const differing = rows.filter((row) => row.differs).map((row) => row.artifact.file);
    const missing = wanted.length ? `Missing files: ${wanted.join(", ")}.` : "No files are missing.";
    const other = `The descriptor names other bytes for ${differing.join(", ")}. Choose the files of this release.`;
    say((differing.length ? other : missing) + more, differing.length > 0);
  }

  function line(id, name, digest, says, file, isWanted) {
    const row = document.createElement("tr");
    if (isWanted) row.className = "dc-marked";
    for (const [label, value] of [["Artifact", id], ["File", name], ["Digest", digest], ["State", says]]) {
      const cell = row.insertCell();
      cell.setAttribute("data-label", label);
      if (!value) cell.setAttribute("data-empty", "");
      cell.className = label === "Digest" ? "dc-mono dc-wide" : "dc-break";
      cell.textContent = value;
    }
    if (file) {
      const bar = document.createElement("progress");
      bar.setAttribute("aria-label", `Upload of ${file.name}`);
      bar.className = "w-full";
      bar.max = Math.max(file.size, 1);
      bar.value = 0;
      bar.hidden = true;
      row.lastChild.append(bar);
      bars.set(file, bar);
    }
    return row;
  }

  // The parts of the form are sent in their order, so the bytes that were sent tell how far each file is.
  function progress(files, event) {
    const all = files.reduce((sum, file) => sum + file.size, 0);
    let sent = event.total ? (event.loaded / event.total) * all : 0;
    for (const file of files) {
      const bar = bars.get(file);
      if (bar) {
        bar.hidden = false;
        bar.value = Math.min(Math.max(sent, 0), bar.max);
      }
      sent -= file.size;
    }
    const percent = event.total ? Math.floor((100 * event.loaded) / event.total) : 0;
    status.textContent = percent < 100 ? `Uploading: ${percent} %` : "Uploaded. The coordinator stores the files.";
  }

  function send() {
    const body = new FormData(form);
    const files = Array.from(body.values()).filter((value) => value instanceof File);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => progress(files, event);
    request.onload = () => answered(request);
    request.onerror = () => failed("The coordinator cannot be reached. The files are still chosen; try again.");
    request.send(body);
  }

  function answered(request) {
    if (request.status === 201) {
      window.location.assign(JSON.parse(request.responseText).location);
      return;
    }
    if (request.status < 300) {
      window.location.reload(); // the session has ended
      return;
    }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const problem = page.querySelector("[data-problem]");
    failed(problem ? "" : `The coordinator responded with status ${request.status}.`);
    if (!problem) return;
    problem.tabIndex = -1;
    document.getElementById("upload-problem").replaceChildren(document.adoptNode(problem));
    problem.focus();
  }

  function failed(message) {
    for (const bar of bars.values()) bar.hidden = true;
    status.textContent = message;
    window.dispatchEvent(new Event("pageshow")); // enables the button again
  }

  // A rejected release is uploaded again with its descriptor, unless another one is chosen.
  async function prefill(address) {
    const response = await fetch(address);
    if (!response.ok || form.elements.descriptor.files.length) return;
    const chosen = new DataTransfer();
    chosen.items.add(new File([await response.blob()], "pipeline-release.json", { type: "application/json" }));
    form.elements.descriptor.files = chosen.files;
    form.elements.descriptor.dispatchEvent(new Event("change", { bubbles: true }));
  }

  form.elements.descriptor.addEventListener("change", show);
  form.elements.artifacts.addEventListener("change", show);
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return; // files go directly to the artifact store
    event.preventDefault();
    document.getElementById("upload-problem").replaceChildren();
    send();
  });
  if (form.dataset.again) prefill(form.dataset.again).catch(() => {});
  show();
})();
