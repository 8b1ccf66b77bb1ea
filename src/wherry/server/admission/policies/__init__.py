"""Admission policies, validating and mutating, with their bindings. Read plugins.py first."""
