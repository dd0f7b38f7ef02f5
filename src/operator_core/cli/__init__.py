"""The command line, `operator-core`."""
