"""The protobuf form of /openapi/v2, byte by byte where it is small, and read by kubectl in tests/conformance."""

from wherry.server.openapi.gnostic import encode


def test_definitions_are_named_schemas_with_extensions_as_yaml() -> None:
    schema = {"type": "object", "x-a": [1], "properties": {"b": {"$ref": "#/c"}}}
    type_ = b"\xb2\x01\x08\x0a\x06object"
    # Any's YAML ends with a newline.
    extension = b"\xfa\x01\x0d" + b"\x0a\x03x-a" + b"\x12\x06\x12\x04[1]\n"
    named = b"\x0a\x01b" + b"\x12\x05" + b"\x0a\x03#/c"
    properties = b"\xca\x01\x0c" + b"\x0a\x0a" + named
    body = type_ + extension + properties
    pair = b"\x0a\x01K" + b"\x12" + bytes([len(body)]) + body
    inner = b"\x0a" + bytes([len(pair)]) + pair
    assert encode({"swagger": "2.0", "definitions": {"K": schema}}) == (
        b"\x0a\x032.0" + b"\x4a" + bytes([len(inner)]) + inner
    )


def test_a_query_and_a_path_parameter_are_numbered_each_in_its_own_way() -> None:
    query = {"name": "a", "in": "query", "type": "string", "uniqueItems": True}
    path = {"name": "b", "in": "path", "required": True, "type": "string"}
    document = encode({"paths": {"/": {"parameters": [query, path]}}})
    assert b"\x22\x01a\x12\x05query\x32\x06string\xa0\x01\x01" in document
    assert b"\x22\x01b\x12\x04path\x08\x01\x2a\x06string" in document
