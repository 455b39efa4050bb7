// Dials the target in its first argument, makes the calls in the others by turns, says who answers, and
// serves its own CSDS.
"use strict";

const grpc = require("@grpc/grpc-js");
require("@grpc/grpc-js-xds").register();

const insecure = grpc.credentials.createInsecure();
const [target, ...calls] = process.argv.slice(2);
const client = new grpc.Client(target, insecure);
let turn = 0;

function ask() {
  const number = turn++ % calls.length;
  const [method, ...pairs] = calls[number].split(" ");
  const metadata = new grpc.Metadata();
  for (const pair of pairs) metadata.add(...pair.split("="));
  const deadline = new Date(Date.now() + 30_000);
  const nothing = () => Buffer.alloc(0);
  // A google.protobuf.StringValue: a tag and a length of one byte each, and the text.
  const name = (bytes) => bytes.subarray(2).toString();
  client.makeUnaryRequest(method, nothing, name, null, metadata, { deadline }, (error, answer) => {
    console.log(number, error ? `error ${grpc.status[error.code]} ${error.details}` : `answer ${answer}`);
    setTimeout(ask, 20);
  });
}

const server = new grpc.Server();
grpc.addAdminServicesToServer(server);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`csds http://127.0.0.1:${port}`);
  ask();
});
