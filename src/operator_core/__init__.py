"""A ledger of the actions that AI agents propose on live systems, and the kill switch that stops all of them."""

__version__ = "0.1.0"
