"""Generate src/wherry/kubelet/runtimes/cri_pb2.py from cri.proto. Needs grpcio-tools (the dev extra)."""

import sys
from pathlib import Path

from grpc_tools import protoc

RUNTIMES = Path(__file__).parent.parent / "src" / "wherry" / "kubelet" / "runtimes"

if __name__ == "__main__":
    sys.exit(protoc.main(["protoc", f"-I{RUNTIMES}", f"--python_out={RUNTIMES}", str(RUNTIMES / "cri.proto")]))
