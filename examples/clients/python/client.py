"""Follows the resources of a Bellwether server by delta xDS, and prints what changes."""

import argparse
import asyncio
import random
import signal

import grpc
from bellwether.v1 import resource_pb2 as native
from envoy.config.core.v3 import base_pb2 as core
from envoy.service.discovery.v3 import ads_pb2_grpc as ads
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from google.protobuf.message import DecodeError
from google.rpc import status_pb2 as rpc

# What is referred to comes before what refers to it.
TYPES = ["Endpoints", "Cluster", "Certificate", "Consumer", "GlobalRule", "Route"]
URL = "type.googleapis.com/bellwether.v1."
BACKOFF_S, BACKOFF_MAX_S = 0.1, 10
OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    # Each attempt is a connection of its own: how long to wait between two is said here, once.
    ("grpc.use_local_subchannel_pool", 1),
]


def say(*words):
    print(*words, flush=True)


def status(rejected):
    """The error_detail of a NACK. It names what was rejected; the rest of the response is in force."""
    if not rejected:
        return None
    message = "; ".join(f"{name}: {reason}" for name, (_, reason) in rejected.items())
    named = [native.Rejection(name=n, version=v, reason=r) for n, (v, r) in rejected.items()]
    detail = rpc.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=message)
    detail.details.add().Pack(native.Rejections(rejected=named))
    return detail


class Client:
    def __init__(self, options):
        self.options = options
        self.failures = 0
        # By type: what is in force (name to version), and what is not (name to version and reason).
        self.held = {URL + name: {} for name in options.types}
        self.rejected = {URL + name: {} for name in options.types}

    async def run(self):
        while True:
            try:
                async with grpc.aio.insecure_channel(self.options.server, OPTIONS) as channel:
                    await self.follow(ads.AggregatedDiscoveryServiceStub(channel))
                say("lost: the server ended the stream")
            except grpc.aio.AioRpcError as error:
                say("lost:", error.code().name, error.details())
            longest = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(self.failures, 20))
            self.failures += 1
            await asyncio.sleep(random.uniform(0, longest))

    async def follow(self, stub):
        stream = stub.DeltaAggregatedResources()
        for request in self.first_requests():
            await stream.write(request)
        async for response in stream:
            self.failures = 0
            await stream.write(self.answer(response))

    def first_requests(self):
        """What is held and what was rejected is said again, so that only what differs is sent."""
        node = core.Node(id=self.options.node, cluster=self.options.fleet, user_agent_name="example-python")
        for url, held in self.held.items():
            yield discovery.DeltaDiscoveryRequest(
                node=node,
                type_url=url,
                resource_names_subscribe=["*"],
                initial_resource_versions=held,
                error_detail=status(self.rejected[url]),
            )

    def answer(self, response):
        """The ACK or NACK of a response, after it is in force."""
        kind, bad = response.type_url.removeprefix(URL), {}
        held, rejected = self.held[response.type_url], self.rejected[response.type_url]
        for resource in response.resources:
            name, version = resource.name, resource.version
            if reason := self.unreadable(kind, resource):
                bad[name] = rejected[name] = (version, reason)
                say("nack", kind, name, version, reason)
                continue
            say("~" if name in held else "+", kind, name, version)
            held[name] = version
            rejected.pop(name, None)
        for name in response.removed_resources:
            rejected.pop(name, None)
            if held.pop(name, None):
                say("-", kind, name)
        return discovery.DeltaDiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce, error_detail=status(bad)
        )

    def unreadable(self, kind, resource):
        """Why a resource can't be read; None if it can. A program would put the message in force here."""
        if resource.name == self.options.refuse:
            return "refused by --refuse"
        if resource.resource.type_url != URL + kind:
            return f"its body is a {resource.resource.type_url!r}"
        try:
            getattr(native, kind)().ParseFromString(resource.resource.value)
        except DecodeError as error:
            return str(error)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:18000")
    parser.add_argument("--node", default="example-python")
    parser.add_argument("--fleet", default="default")
    parser.add_argument("--types", default=",".join(TYPES), type=lambda types: types.split(","))
    parser.add_argument("--refuse", metavar="NAME", help="reject this resource, whatever it holds")
    options = parser.parse_args()
    if unknown := set(options.types) - set(TYPES):
        parser.error(f"no such type: {', '.join(unknown)}")
    following = asyncio.create_task(Client(options).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    try:
        await following
    except asyncio.CancelledError:
        say("stopped")


asyncio.run(main())
