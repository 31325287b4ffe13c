"""Files from servers that are not ours: which addresses the worker connects to, and how it copies what lies there."""
