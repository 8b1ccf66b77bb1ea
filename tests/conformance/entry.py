"""Which conformance entry a test stands for: `@conformance("[sig-…] … [Conformance]")`.

The name must be an entry of entries.txt, written as one literal (test_entries.py reads the files without running them).
"""

import pytest

conformance = pytest.mark.conformance
