"""Dials the target in its argument, says who answers, and serves its own CSDS."""

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

channel = grpc.insecure_channel(sys.argv[1])
ask = channel.unary_unary(
    "/bellwether.test.Names/Ask",
    request_serializer=empty_pb2.Empty.SerializeToString,
    response_deserializer=wrappers_pb2.StringValue.FromString,
)
while True:
    try:
        print("answer", ask(empty_pb2.Empty(), timeout=5).value)
    except grpc.RpcError as error:
        print("error", error.code().name, error.details())
    time.sleep(0.05)
