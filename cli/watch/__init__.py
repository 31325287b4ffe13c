"""What goes on now, in figures: for `imageledger status` and its --watch."""
