"""Jobs for operators: found by what they are, retried, canceled, purged, paused."""
