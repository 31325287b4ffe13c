"""Applies sql/ and functions/ to a database: in name order, in one transaction, as often as you like."""
