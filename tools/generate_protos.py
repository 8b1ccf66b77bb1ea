"""Generate the _pb2.py files beside each .proto of src/wherry. Needs grpcio-tools (the dev extra)."""

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).parent.parent / "src" / "wherry"

if __name__ == "__main__":
    for proto in sorted(SOURCE.rglob("*.proto")):
        at = proto.parent
        if protoc.main(["protoc", f"-I{at}", f"--python_out={at}", str(proto)]):
            sys.exit(1)
