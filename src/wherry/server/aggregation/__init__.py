"""APIServices: this server's own group versions listed, and other servers' served through this one.

aggregator.py follows the objects and knows who serves what; availability.py says whether an extension server can be
asked, proxy.py passes requests on, documents.py puts their discovery and OpenAPI beside our own, local.py lists what is
served here. The extension server is told who asks by headers, under the front proxy's client certificate.
"""
