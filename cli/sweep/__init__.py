"""Storage and ledger compared both ways, and mended."""
