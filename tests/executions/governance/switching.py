"""The part of the model that activates: at once, by a rollback, or gradually."""

from tests.executions.governance.model import Base, Gradual, Refused, Row, refusals


class Switching(Base):
    """Activations, rollbacks and gradual activations. Each method returns the row or the gradual activation."""

    def switch(self, kind: str, version: str, key: str | None = None, **members: object) -> Row:
        """Append a row to the history."""
        row = Row(kind, version, self.active, self.now, key=key, **members)  # type: ignore[arg-type]
        self.rows.append(row)
        return row

    def activated(
        self, version: str, kind: str, key: str | None = None, *, override: bool = False, request: int | None = None
    ) -> Row:
        """Another release becomes active, so a gradual activation that is running ends."""
        if self.running:
            self.running.end("REPLACED", "activation")
        return self.switch(kind, version, key, override=override, request=request)

    def activate(self, version: str, *, reason: str, expected: str | None, key: str | None, override: bool) -> Row:
        earlier = self.row_of(key)
        if earlier:
            if earlier.release != version or earlier.gradual is not None:
                raise Refused("OPERATION_KEY_REUSED")
            return earlier
        kind = self.kind_of(version)
        with refusals() as found:
            found.update(self.require_registered(version), self.require_expected(expected))
            found.update(self.require_reason(reason, always=override or kind == "rollback"))
            found.update(self.gates(version, kind, override=override))
        return self.activated(version, kind, key, override=override)

    def target(self) -> str | None:
        """Return the release of a rollback that names none."""
        return next((row.previous for row in self.rows if row.release == self.active), None)

    def roll_back(
        self, version: str | None, *, reason: str, expected: str | None, key: str | None, recent_only: bool
    ) -> Row:
        if not reason:
            raise Refused("REASON_REQUIRED")
        earlier = self.row_of(key)
        if earlier:
            if earlier.kind != "rollback" or version not in {None, earlier.release}:
                raise Refused("OPERATION_KEY_REUSED")
            return earlier
        version = version or self.target()
        if version is None:
            raise Refused("NOTHING_TO_ROLL_BACK_TO")
        kind = self.kind_of(version)
        with refusals() as found:
            found.update(self.require_registered(version), self.require_expected(expected), self.gates(version, kind))
            if kind != "rollback":
                found.add("NO_ROLLBACK")
            elif recent_only and not self.was_active_lately(version):
                found.add("ROLLBACK_TOO_FAR")
        return self.activated(version, kind, key)

    # --- gradual activations ---

    def start(
        self,
        candidate: str,
        shares: tuple[float, ...],
        tags: tuple[str, ...],
        *,
        reason: str,
        expected: str | None,
        key: str | None,
    ) -> Gradual:
        earlier = self._repeated(key, "gradual", None)
        if earlier:
            if earlier.candidate != candidate:
                raise Refused("OPERATION_KEY_REUSED")
            return earlier
        with refusals() as found:
            found.update(self.require_registered(candidate), self.require_expected(expected))
            found.update(self.require_reason(reason), self.gates(candidate, "gradual"))
            if self.active is None:
                found.add("NO_ACTIVE_RELEASE")
            elif self.statuses[self.active] == "REVOKED":
                found.add("ACTIVE_RELEASE_REVOKED")
            if candidate == self.active:
                found.add("CANDIDATE_ACTIVE")
            if self.running:
                found.add("GRADUAL_ACTIVATION_RUNNING")
        assert self.active is not None
        self.graduals.append(Gradual(self.active, candidate, shares, tags))
        self._route(len(self.graduals) - 1, key)
        return self.graduals[-1]

    def step(self, number: int, *, step: int | None, expected: str | None, key: str | None) -> Gradual:
        earlier = self._repeated(key, "gradual", number)
        if earlier:
            return earlier
        gradual = self._running(number)
        with refusals() as found:
            found.update(self.require_expected(expected))
            if step not in {None, gradual.step}:
                found.add("STEP_CHANGED")
            if gradual.step + 1 == len(gradual.shares):
                found.add("NO_NEXT_STEP")
        gradual.step += 1
        self._route(number, key)
        return gradual

    def promote(self, number: int, *, reason: str, expected: str | None, key: str | None) -> Gradual:
        earlier = self._repeated(key, "promotion", number)
        if earlier:
            return earlier
        gradual = self._running(number)
        with refusals() as found:
            found.update(self.require_expected(expected), self.require_reason(reason))
            found.update(self.gates(gradual.candidate, "promotion"))
        gradual.end("PROMOTED", "person")
        self.switch("promotion", gradual.candidate, key, gradual=number)
        return gradual

    def withdraw(self, number: int, *, reason: str, step: int | None, expected: str | None, key: str | None) -> Gradual:
        if not reason:
            raise Refused("REASON_REQUIRED")
        earlier = self._repeated(key, "withdrawal", number)
        if earlier:
            return earlier
        gradual = self._running(number)
        with refusals() as found:
            found.update(self.require_expected(expected))
            if step not in {None, gradual.step}:
                found.add("STEP_CHANGED")
        self.withdrawn(number, "person", key)
        return gradual

    def withdrawn(self, number: int, cause: str, key: str | None = None) -> None:
        """The candidate gets no further executions, and the active release stays."""
        gradual = self.graduals[number]
        gradual.end("WITHDRAWN", cause)
        self.switch("withdrawal", gradual.baseline, key, gradual=number)

    def _route(self, number: int, key: str | None) -> None:
        gradual = self.graduals[number]
        share = gradual.shares[gradual.step]
        self.switch("gradual", gradual.baseline, key, gradual=number, candidate=gradual.candidate, share=share)

    def _running(self, number: int) -> Gradual:
        if self.graduals[number].status != "RUNNING":
            raise Refused("GRADUAL_ACTIVATION_ENDED")
        return self.graduals[number]

    def _repeated(self, key: str | None, kind: str, number: int | None) -> Gradual | None:
        """Return the gradual activation whose operation had the key. `number` is None if the operation starts one."""
        row = self.row_of(key)
        if row is None:
            return None
        first = next(each for each in self.rows if each.gradual == row.gradual)
        if row.gradual is None or row.kind != kind or (row is first) != (number is None):
            raise Refused("OPERATION_KEY_REUSED")
        if number not in {None, row.gradual}:
            raise Refused("OPERATION_KEY_REUSED")
        return self.graduals[row.gradual]
