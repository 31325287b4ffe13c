"""Database and objects to one moment: `imageledger snapshot`, and `imageledger restore` into an empty project."""
