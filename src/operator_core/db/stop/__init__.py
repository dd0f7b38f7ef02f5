"""Engaging a stop, on a connection of its own."""
