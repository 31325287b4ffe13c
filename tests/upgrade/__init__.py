"""Schemas of released versions with data in them, and the way from each to the present one."""
