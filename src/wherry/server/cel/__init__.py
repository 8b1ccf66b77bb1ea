"""The Common Expression Language as Kubernetes has it: rules of custom resources, admission policies, match conditions.

Nothing here is imported before the first expression is compiled. Read environment.py (what callers use), then syntax.py
(text to tree), checker.py (types), planner.py (tree to closures) and cost.py (what a rule may cost at worst).
"""
