"""How a stop is engaged, on a connection of its own."""
