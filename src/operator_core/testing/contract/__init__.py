"""The contract of a host's engine settings."""

from operator_core.testing.contract.ledger_contract import LedgerContract

__all__ = ["LedgerContract"]
