#!/bin/sh
# The run behind 0001-own-etcd-client.md: the package etcd3 beside the protobuf and grpcio that this project pins.
# It makes a throw-away virtual environment (a few packages are fetched from pip's index) and needs nothing else.
#
#     sh docs/decisions/0001-run.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check etcd3==0.12.0 'protobuf>=7.35.1,<8' grpcio==1.85.1
python="$folder/venv/bin/python"

echo "== import etcd3"
"$python" -c 'import etcd3' 2>&1 | grep TypeError
echo "== import etcd3, the whole process forced to pure-Python protobuf"
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python "$python" -c 'import etcd3; print("imported")'

# What that switch costs: our own message of 1,000 keys, decoded by either implementation.
cat >"$folder/decode.py" <<'PY'
import statistics, sys, timeit
sys.path.insert(0, sys.argv[1])
from google.protobuf.internal import api_implementation
from mft.pb.etcd import v3_pb2 as pb

kvs = [pb.KeyValue(key=b"/mft/demo/journal/%06d" % n, value=bytes(200), create_revision=n + 1, mod_revision=n + 9,
                   version=2, lease=7587848390000000000) for n in range(1000)]
data = pb.RangeResponse(kvs=kvs, count=1000).SerializeToString()
runs = timeit.repeat(lambda: [kv.key for kv in pb.RangeResponse.FromString(data).kvs], number=5, repeat=9)
print(f"{api_implementation.Type():6}  {statistics.median(runs) / 5 * 1000:7.2f} ms for 1,000 keys")
PY
echo "== decoding"
"$python" "$folder/decode.py" "$here/../.."
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python "$python" "$folder/decode.py" "$here/../.."
