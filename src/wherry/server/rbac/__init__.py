"""Role-based access control: evaluation, the bootstrap policy, and the guard against escalation."""
