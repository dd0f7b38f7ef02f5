"""Keep what an AI agent wants to do to live systems, and the kill switch that stops all of it."""

__version__ = "0.1.0"
