// Follows the resources of a Bellwether server by delta xDS, and prints what changes.
"use strict";

const path = require("node:path");
const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const URL = "type.googleapis.com/bellwether.v1.";
const BACKOFF_MS = 100;
const BACKOFF_MAX_MS = 10_000;

// The stubs are made from the .proto files when the program starts.
const definition = loader.loadSync(
  ["envoy/service/discovery/v3/ads.proto", "bellwether/v1/resource.proto", "google/rpc/status.proto"],
  { includeDirs: [path.join(__dirname, "../../../proto")], keepCase: true, longs: String, defaults: true },
);
const native = (kind) => definition[`bellwether.v1.${kind}`];
const AdsClient = grpc.loadPackageDefinition(definition).envoy.service.discovery.v3.AggregatedDiscoveryService;

const { values: options } = parseArgs({
  options: {
    server: { type: "string", default: "127.0.0.1:18000" },
    node: { type: "string", default: "example-node" },
    fleet: { type: "string", default: "default" },
    // What is referred to comes before what refers to it.
    types: { type: "string", default: "Endpoints,Cluster,Certificate,Consumer,GlobalRule,Route" },
    // Rejects the resource of this name, whatever it holds.
    refuse: { type: "string", default: "" },
  },
});

// By type: what is in force (name to version), and what is not (name to version and reason).
const lanes = new Map(options.types.split(",").map((kind) => [kind, { held: {}, rejected: {} }]));
let failures = 0;
let stream = null;
let pause = null;
let stopped = false;

// The error_detail of a NACK. It names what was rejected; the rest of the response is in force.
function status(rejected) {
  const named = Object.values(rejected);
  if (named.length === 0) return undefined;
  const value = native("Rejections").serialize({ rejected: named });
  return {
    code: grpc.status.INVALID_ARGUMENT,
    message: named.map(({ name, reason }) => `${name}: ${reason}`).join("; "),
    details: [{ type_url: `${URL}Rejections`, value }],
  };
}

// One connection, until it ends.
function follow() {
  const client = new AdsClient(options.server, grpc.credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.max_receive_message_length": -1,
    // Each attempt is a connection of its own: how long to wait between two is said here, once.
    "grpc.use_local_subchannel_pool": 1,
  });
  stream = client.DeltaAggregatedResources();
  stream.on("data", (response) => {
    failures = 0;
    stream.write({ type_url: response.type_url, response_nonce: response.nonce, error_detail: apply(response) });
  });
  stream.on("error", () => {}); // "status" comes too, and always.
  stream.on("status", ({ code, details }) => {
    client.close();
    if (stopped) return;
    console.log(`lost: ${grpc.status[code]} ${details}`);
    const longest = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** Math.min(failures, 20));
    failures += 1;
    pause = setTimeout(follow, Math.random() * longest);
  });
  // What is held and what was rejected is said again, so that only what differs is sent.
  for (const [kind, { held, rejected }] of lanes) {
    stream.write({
      node: { id: options.node, cluster: options.fleet, user_agent_name: "example-node" },
      type_url: URL + kind,
      resource_names_subscribe: ["*"],
      initial_resource_versions: held,
      error_detail: status(rejected),
    });
  }
}

// Puts a response in force. The error of a NACK, or nothing.
function apply(response) {
  const kind = response.type_url.slice(URL.length);
  const { held, rejected } = lanes.get(kind);
  const bad = {};
  for (const resource of response.resources) {
    const { name, version } = resource;
    const reason = unreadable(kind, resource);
    if (reason) {
      bad[name] = rejected[name] = { name, version, reason };
      console.log("nack", kind, name, version, reason);
      continue;
    }
    console.log(name in held ? "~" : "+", kind, name, version);
    held[name] = version;
    delete rejected[name];
  }
  for (const name of response.removed_resources) {
    if (name in held) console.log("-", kind, name);
    delete held[name];
    delete rejected[name];
  }
  return status(bad);
}

// Why a resource can't be read, if it can't. A program would put the message in force here.
function unreadable(kind, { name, resource }) {
  if (name === options.refuse) return "refused by --refuse";
  if (resource?.type_url !== URL + kind) return `its body is a ${resource?.type_url}`;
  try {
    native(kind).deserialize(resource.value);
    return undefined;
  } catch (error) {
    return error.message;
  }
}

function stop() {
  stopped = true;
  clearTimeout(pause);
  stream.cancel();
  console.log("stopped");
}

process.on("SIGTERM", stop);
process.on("SIGINT", stop);
follow();
