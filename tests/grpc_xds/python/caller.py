"""Dials the target in its first argument, makes the calls in the others by turns, says who answers, and serves its own CSDS."""

import itertools
import sys
import time
from concurrent import futures

import grpc
from google.protobuf import empty_pb2, wrappers_pb2
from grpc_csds import add_csds_servicer

server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
add_csds_servicer(server)
print(f"csds http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
server.start()

target, *calls = sys.argv[1:]
channel = grpc.insecure_channel(target)
for number, call in itertools.cycle(enumerate(calls)):
    method, *metadata = call.split(" ")
    ask = channel.unary_unary(
        method,
        request_serializer=empty_pb2.Empty.SerializeToString,
        response_deserializer=wrappers_pb2.StringValue.FromString,
    )
    pairs = [tuple(pair.split("=")) for pair in metadata]
    try:
        print(number, "answer", ask(empty_pb2.Empty(), timeout=30, metadata=pairs).value)
    except grpc.RpcError as error:
        print(number, "error", error.code().name, error.details())
    time.sleep(0.02)
