"""Custom resources: kinds that CustomResourceDefinitions add at run time.

serving.py follows the definitions and puts their kinds into the registry; version.py is one version of one kind,
compiled from its schema by pruning.py, defaulting.py, validation.py and merging.py; definition rules are in naming.py
and structural.py.
"""
