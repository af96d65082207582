"""What the author does about each error of the commands. `docs/reference/errors.md` is generated from it."""

from collections.abc import Mapping
from typing import Final

ADVICE: Final[Mapping[str, str]] = {
    "INVALID_PIPELINE_ID": "Use at most 200 letters, digits, `.`, `_` and `-`.",
    "INVALID_OPTIONS": "Use the options that the message lists.",
    "DUPLICATE_PIPELINE_ID": "Give one of the two pipelines of the module another id.",
    "INVALID_PACKAGES": "Set `packages` to a tuple of names.",
    "INVALID_STEP_POLICY": "Correct the retries, delays, time limit or exceptions of the step, as the message says.",
    "INVALID_PARALLEL": "Use `parallel` at a step from one value to one or many, after one that gives a stream.",
    "CONFIG_MISSING": "Set the environment variables, or write the files, that the message names.",
    "INVALID_CONFIG": "Declare names of environment variables, with the types str, int, float or bool, and secrets as "
    "a list of names.",
    "INVALID_SEARCH": "Name at most eight fields of the input that are one text, number, time or bool.",
    "INVALID_CONCURRENCY": "Give a limit, a rate or a quiet time, and a key that leads to one value of the input.",
    "NOT_A_FUNCTION": "Decorate a function.",
    "INVALID_STEP_NAME": "Use 1 to 200 printable characters. Shorten a name whose step id has more than 300.",
    "DUPLICATE_STEP_NAME": "Give one of the two another `name=`; upper and lower case are not distinguished.",
    "EMPTY_PIPELINE": "Add a step.",
    "PIPELINE_CLOSED": "Add steps at the top of the module, not in a step.",
    "NO_TYPE_HINTS": "Annotate the input and the return value; if the pipeline begins with a timer, give it `of=`.",
    "UNRESOLVED_HINT": "Import the named type at the top of the module, outside of `TYPE_CHECKING`.",
    "UNSUPPORTED_TYPE": "Write what the message says, or a supported type, with a name of at most 500 characters.",
    "INVALID_DEFAULT": "Give the field a default of its type, and not NaN. A field that may be missing has the type "
    "`Optional[X]` and the default None.",
    "TYPE_NOT_IMPORTABLE": "Define the class at the top of a module.",
    "INVALID_SIGNATURE": "Declare one input and optionally `context: StepContext`, in a function instead of a method.",
    "INVALID_BRANCHES": "Give two or more functions with different names that take one value; a route returns a "
    "`Literal` of exactly their names.",
    "INVALID_CONDITION": "Let `when` take the request and return bool, and the next step an answer that may be None.",
    "ASYNC_STEP": "Write `async def` with `yield` and `-> AsyncIterator[T]`, or return `list[T]`.",
    "UNKNOWN_CARDINALITY": "Use one of the four cardinalities, or omit it.",
    "CARDINALITY_MISMATCH": "Make hints and `cardinality=` agree; a function that yields returns `Iterator[T]`.",
    "TYPES_DO_NOT_CHAIN": "Make the output type of each step the input type of the next one, or one of the types of "
    "its union.",
    "STEP_NOT_IMPORTABLE": "Define steps with `def` at the top of a module, `@pipeline.step` outermost.",
    "AWAIT_CARDINALITY": "Request the whole stream, or make the response one value.",
    "INVALID_TIMEOUT": "Use a positive `timedelta` of at most a hundred years.",
    "INVALID_RECIPIENT": "Use 1 to 200 printable characters for `assignee` and 1 to 100 for `group`, without blanks at "
    "either end.",
    "UNKNOWN_TRANSPORT": "Use `interaction-api` or `webhook`; to wait for a time only, use `pipeline.timer`.",
    "INVALID_URL": "For `publish`, use the coordinator's address. For a webhook, and for no other transport, use an "
    "`url=` with http or https, without credentials and with at most 2,000 characters.",
    "INVALID_INPUT": "Give a value of the type that the message names, typed or as JSON.",
    "INVALID_ANSWER": "Give one value for each question, of the type that the message names, typed or as JSON.",
    "ANSWER_MISSING": "Use the names of the pipeline's questions in `answers`, or in `--answer`.",
    "UNKNOWN_AWAIT": "Use the names of the pipeline's questions in `answers`, or in `--answer`.",
    "INPUT_MISSING": "Give `--input` a readable file with JSON, or JSON.",
    "INPUT_UNREADABLE": "Give `--input` a readable file with JSON, or JSON.",
    "INVALID_CHECKPOINT": "Continue with the same steps and types, or delete the file that the message names.",
    "FOLDER_NOT_EMPTY": "Choose another name, or remove the folder.",
    "INVALID_REFERENCE": "Write `orders.py`, `orders.py:NAME`, `MODULE` or `MODULE:NAME`.",
    "MODULE_NOT_FOUND": "Run the command in the folder that contains the module or the file, or set `PYTHONPATH`.",
    "MODULE_FAILED": "Fix the error that the import raises, in the line that the message names.",
    "NAME_NOT_FOUND": "Use one of the pipelines that the message lists.",
    "NOT_A_PIPELINE": "Use one of the pipelines that the message lists.",
    "PACKAGE_NOT_FOUND": "Name packages that can be imported and have source files on disk.",
    "STEP_NOT_PACKED": "Set `packages=` as the message says, or install the module as a distribution.",
    "MODULE_NOT_PACKED": "Set `packages=` as the message says, or install the module as a distribution.",
    "SOURCE_UNREADABLE": "Fix the permissions or the link that the message names.",
    "INVALID_LOCK": "Correct the file and the line that the message names: write one distribution with its exact "
    "version in each line.",
    "UV_NOT_FOUND": "Install uv; to build without it, give `--lock` another file, or none.",
    "OUT_DIR_PACKED": "Choose an `--out` outside of the packed packages.",
    "OUT_DIR_UNWRITABLE": "Choose another `--out`, or fix its permissions.",
    "NO_ARTIFACT": "Name the pipeline; for a worker, name the artifact with `--artifact FILE`, or set "
    "`COORDINATOR_URL` to download it.",
    "NO_RELEASE": "Name one of the folders that the message lists, or `PIPELINE@VERSION`.",
    "RELEASE_EXISTS": "Give the new release another `--release-version`; delete the folder if its release was never "
    "published.",
    "NOT_AN_ARTIFACT": "Build the artifact again.",
    "MIXED_ARTIFACTS": "Name the artifacts of one release.",
    "INVALID_ARTIFACT_NAME": "Rename the artifact or its folder: the name of the file may only have ASCII letters, "
    "digits, `.`, `_` and `-`.",
    "INVALID_CARRIER": "Name one of the artifacts that the message lists with `--carrier`.",
    "INVALID_MAVEN_COORDINATES": "Write `GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION` without a snapshot, once for "
    "each artifact.",
    "INVALID_IMAGE": "Write `oci://registry/repository@sha256:<digest>`.",
    "WRONG_PROFILE": "Add `--profile tpf-2026-10`, or omit the options that need it.",
    "INVALID_REPOSITORY": "Name a folder, or an http or https URL without credentials, query and fragment.",
    "INVALID_REPOSITORY_CREDENTIALS": "Set `PIPELINES_MAVEN_CREDENTIALS` to `user:password`, and name repositories of "
    "one host, with https.",
    "INVALID_RELEASE_VERSION": "Omit `--release-version`, or give a valid version.",
    "SIGNING_KEY_UNREADABLE": "Name a readable file.",
    "SIGNING_KEY_LOCKED": "Set `PIPELINES_KEY_PASSPHRASE` to the passphrase of the key.",
    "SIGNING_KEY_INVALID": "Name an ed25519 private key, PKCS#8 in PEM form.",
    "FILE_UNREADABLE": "Name a readable file.",
    "PROVENANCE_KEY_INVALID": "Name the coordinator's public key, ed25519 in PEM form.",
    "KEY_EXISTS": "Choose another file for the key.",
    "NO_ATTACHMENT": "Name existing files.",
    "TRACING_NOT_INSTALLED": "Install the extra: `pip install durable-pipelines[tracing]`.",
    "MISSING_OPTION": "Set the option or variable that the message names.",
    "NOT_FOR_DEVELOPMENT": "Use a coordinator of your own (`coordinator dev`), or build, publish and activate a "
    "release.",
    "MALFORMED_WORKER_KEY": "Copy the complete line that `coordinator worker_key TENANT` prints; the secret of REST "
    "workers has at least 16 characters.",
    "ENVIRONMENT_NOT_MADE": "Correct what uv's message says: for example, make the index available, or install the "
    "required Python.",
    "ENVIRONMENT_DRIFT": "Install what the message names, first what is missing; or make a matching environment with "
    "`pipelines env sync`, or build and release in this one.",
    "FOREIGN_MODULE": "Pack the module that the message names (`packages=`), or install it as a distribution, and "
    "release that; reinstall a distribution that was changed in place.",
    "MODULE_SHADOWED": "Rename the module or the file that the message names.",
    "ARTIFACT_ALREADY_HOSTED": "Host each artifact in its own process.",
    "UNPACKING_FAILED": "Set `TMPDIR` to a writable folder with enough free space.",
    "WORKER_ENDED": "Correct what the worker printed before.",
    "WORKER_REFUSED": "Check key, tenant, clock or version, as the message says.",
    "INVALID_ADDRESS": "Set `--bind` to a HOST:PORT, or `--metrics-port` to a port, on which this process may listen.",
    "COORDINATOR_UNREACHABLE": "Check `--url`, and try again; completed uploads are not repeated.",
    "VERSION_TAKEN": "Release the code under a new version, which the message names: a registered release never "
    "changes.",
    "STORE_UNREACHABLE": "Make sure that this machine can reach the artifact store, and publish again; the upload "
    "resumes.",
    "UPLOAD_REJECTED": "Publish again. The uploaded bytes differ from the declared file.",
    "COORDINATOR_REFUSED": "Fix the error that the coordinator's code describes.",
    "VERDICT_OVERDUE": "Check the page of the release. A control worker or the artifact store may be unavailable.",
    "WORKER_REQUIRED": "Run the two commands of the message: start a worker of the release, and activate it.",
    "COORDINATOR_NOT_INSTALLED": 'Run `pip install "durable-coordinator[embedded]"`.',
    "COORDINATOR_NOT_STARTED": "Fix what the end of its log, in the message, says.",
    "WORKER_NOT_STARTED": "Fix what the end of its log, in the message, says.",
    "INVALID_BROKER_URL": "Remove the query from `--broker-url`; with `--broker-ca-file`, use a `rediss://` or "
    "`sentinels://` URL; a URL that names Sentinels also names what they watch.",
    "INVALID_CA_FILE": "Name a readable file of certificates in PEM form.",
    "INVALID_WORKER_ID": "Use at most 190 printable characters for `--worker-id`, without `/` and without spaces at "
    "either end.",
    "INVALID_RELEASE": "Name a readable `pipeline-release.json`, and correct what the finding in the message says; in "
    "`calls`, write `release=ACTIVE`, or a version of the called pipeline.",
    "PIPELINE_MISMATCH": "Host the code of that release, or create a release of this code.",
    "CONTRACT_MISMATCH": "Host the code of that release, or create a release of this code.",
    "ARTIFACT_MISMATCH": "Host the code of that release, or create a release of this code.",
}
