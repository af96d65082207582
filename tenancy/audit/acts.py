"""The names of acts in the audit log. They never change, so that filters and reports stay valid."""

from typing import Final

NAMES: Final = (
    *("activation_request.create", "activation_request.expire", "activation_request.fail"),
    *("activation_request.restart", "activation_request.vote", "activation_request.withdraw"),
    *("admin.page", "artifact.download", "artifact_upload.begin", "artifact_upload.complete"),
    *("alert.silence", "alert.unsilence", "alert_channel.add", "alert_channel.change", "alert_channel.remove"),
    *("alert_channel.test", "alert_rule.add", "alert_rule.change", "alert_rule.remove"),
    *("artifacts.move", "artifacts.remove", "backup.create", "backup.restore"),
    *("campaign.cancel", "campaign.discard", "campaign.draft", "campaign.pause", "campaign.preview"),
    *("campaign.resume", "campaign.start"),
    *("deployment.create", "execution.cancel", "execution.pause", "execution.redrive", "execution.resubmit"),
    *("execution.resume", "execution.submit", "executions.remove"),
    "failure_group.change",
    *("gradual_activation.promote", "gradual_activation.start", "gradual_activation.step"),
    *("gradual_activation.withdraw", "interaction.answer", "interaction.claim", "interaction.delegate"),
    "interaction.release",
    *("membership.add", "membership.begin", "membership.change", "membership.remove", "policy.change"),
    *("pipeline.pause", "pipeline.resume"),
    "quotas.change",
    *(
        "release.activate",
        "release.attach",
        "release.pause",
        "release.register",
        "release.reject",
        "release.restore_bytes",
    ),
    *("release.resume", "release.retire", "release.revoke", "release.smoke_test", "release.upload", "settings.load"),
    *("saved_view.remove", "saved_view.save"),
    *("tenant.change", "tenant.create", "token.end", "token.issue", "trusted_key.add", "trusted_key.revoke"),
    *("user.change", "user.create", "user.end_sessions", "user.log_in", "user.log_out", "user.password"),
    "user.time_zone",
    *("worker.drain", "worker.heartbeat", "worker.register", "worker.undrain", "worker_key.change"),
)
