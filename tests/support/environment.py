"""Keeps what an account has set up for other programs away from the tests."""

import atexit
import os
from collections.abc import MutableMapping
from tempfile import TemporaryDirectory

DATABASE_URL = "OPERATOR_CORE_DATABASE_URL"


def isolate(environ: MutableMapping[str, str]) -> None:
    """Take out what would lead the drivers elsewhere, and replace a home that this account may not use.

    The home may be that of another account, as after `setpriv`: the drivers and tools cannot look into it.
    """
    for name in [name for name in environ if name.startswith("PG") or name == DATABASE_URL]:
        del environ[name]
    if not os.access(environ.get("HOME", ""), os.R_OK | os.W_OK | os.X_OK):
        home = TemporaryDirectory(prefix="operator-core-home-")
        atexit.register(home.cleanup)
        environ["HOME"] = home.name
