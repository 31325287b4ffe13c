"""Servers that are not ours: which addresses the worker connects to, what it copies, how it reads answers."""
