"""API priority and fairness: who is served at once, who waits, who is turned away. Begin with fairness.py."""
