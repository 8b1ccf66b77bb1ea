"""The audit log: what is recorded of which request, and where it goes. Begin with auditor.py."""
