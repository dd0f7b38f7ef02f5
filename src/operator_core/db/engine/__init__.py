"""Engines: their drivers, their settings, and the files and sockets beneath them."""
