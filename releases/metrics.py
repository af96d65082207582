"""The metrics of releases. They count what is committed, in the process that did it."""

from foundation.telemetry.metrics import Counter, Histogram

activations = Counter(
    "coordinator_activations_total",
    "Activations by their kind: also rollbacks, and the steps of gradual activations.",
    ("tenant", "pipeline", "kind"),
)
verifications = Counter(
    "coordinator_verifications_total",
    "Verifications of releases by their verdict. POSTPONED means that a store or registry did not respond.",
    ("tenant", "verdict"),
)
verification_time = Histogram(
    "coordinator_verification_seconds", "Time that verifications of releases took, by their verdict.", ("verdict",)
)
blob_checks = Counter(
    "coordinator_blob_checks_total",
    "Stored blobs that were read again, by the verdict. NONE means that the store could not be read, SUSPECT that too"
    " many looked wrong at once.",
    ("verdict",),
)
