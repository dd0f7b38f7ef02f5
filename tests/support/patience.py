"""How long tests wait for what has to come."""

PATIENCE = 300.0
"""Seconds for what comes at once on an idle machine: a bound for a hang, far beyond what a busy machine needs."""

IN_VAIN = 5.0
"""Seconds for a stop that uses all of them, because something is in its way; the rest of it must come within them."""
