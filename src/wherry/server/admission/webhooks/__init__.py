"""Admission webhooks: hooks.py compiles configurations, review.py asks one, plugins.py asks all that a write is for."""
