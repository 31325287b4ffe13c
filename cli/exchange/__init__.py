"""Listings out and in as CSV files, and out to marketplaces."""
