"""The API in OpenAPI 2 and 3: schemas.py from the types, paths.py from the records, documents.py serves them."""
