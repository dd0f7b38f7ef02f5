"""The SQL: synchronous functions over a connection, none of which begins or ends a transaction."""
