"""The calls about executions that were lost: recover their leases, list what is unresolved, and resolve it."""

from operator_core.actions.errors import ConstraintError, UnreadableRowError
from operator_core.actions.lifecycle import Resolution
from operator_core.actions.types import StoredRecord
from operator_core.actions.validation import check_integer, check_member, check_seconds, check_text
from operator_core.db.repository.arguments import by_
from operator_core.db.repository.base import RepositoryBase
from operator_core.db.stores import kill_switch, leases, records
from operator_core.db.stores.reading import Found, require_readable


class RecoveryMixin(RepositoryBase):
    """The recovery of lost executions, and what people find out about them."""

    async def recover_expired_leases(self, *, grace_period: float = 0.0, by: str = "system") -> list[StoredRecord]:
        """Fail the executions whose lease expired more than `grace_period` seconds ago, and return their records.

        Their outcome is unknown, and nothing reruns by itself: a person investigates and calls `resolve_unknown`.
        Executions without a lease are left alone. The call also cancels pending proposals that have expired or that a
        stop left. Unreadable records are recovered with the others and reported (see `on_unreadable`); records that the
        database refuses to close are only reported.
        """
        seconds, lost = check_seconds(grace_period, "grace_period"), list[StoredRecord]()
        try:
            while found := await self._recover(seconds, by_(by)):
                lost += found.items
        except ConstraintError:
            lost += await self._recover_one_by_one(seconds, by_(by))
        await self._run(kill_switch.sweep_all)
        if lost:
            self._notify()
        return lost

    async def _recover(self, grace: float, by: str, record_id: int | None = None) -> Found[StoredRecord] | None:
        found = await self._run(leases.recover, grace, by, record_id)
        self._unreadable_rows().readable(found)
        return found if found.items or found.unreadable else None

    async def _recover_one_by_one(self, grace: float, by: str) -> list[StoredRecord]:
        """Recover by id, so that a record that the database refuses to close does not hold up the others."""
        recovered: list[StoredRecord] = []
        last = 0
        while ids := await self._run(leases.expired_ids, grace, last):
            last = ids[-1]
            for number in ids:
                try:
                    found = await self._recover(grace, by, number)
                except ConstraintError as error:
                    self._unreadable_rows().add(await self._diagnose_unclosed(number, error))
                else:
                    recovered += found.items if found else []
        return recovered

    async def _diagnose_unclosed(self, record_id: int, refused: ConstraintError) -> UnreadableRowError:
        try:
            await self._run(records.get, record_id)
        except UnreadableRowError as error:
            return error
        return UnreadableRowError("action_records", record_id, None, f"it was lost, and cannot be closed: {refused}")

    async def list_unresolved(self) -> list[StoredRecord]:
        """Return the records whose outcome is unknown and unresolved, oldest first.

        Unreadable records are skipped and reported: see `on_unreadable`.
        """
        return await self._run_many(leases.unresolved)

    async def resolve_unknown(self, record_id: int, *, resolution: Resolution, by: str, reason: str) -> StoredRecord:
        """Record, once, what a person found out about an execution whose outcome is unknown.

        The outcome stays unknown; the record gains the resolution, and the history an event. To try again, propose the
        action with `retry_of`.

        Raises:
            RecordNotFoundError: There is no such record.
            AlreadyResolvedError: The outcome is known, or it was resolved before.
            UnreadableRowError: The resolution is stored, but something else in the record cannot be read.
        """
        number, found = check_integer(record_id, "record_id"), check_member(resolution, "resolution", Resolution)
        values = (number, found, by_(by), check_text(reason, "reason"))
        return require_readable(await self._run(leases.resolve, *values))
