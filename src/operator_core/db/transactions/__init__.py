"""Transaction ownership: the library or its host."""
