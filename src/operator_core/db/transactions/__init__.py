"""Who owns the transaction of a call: the library or its host."""
