"""Pictures from prompts and pictures: providers behind one protocol, and what the worker tells the database."""
