// Dials the target in its argument, says who answers, and serves its own CSDS.
"use strict";

const grpc = require("@grpc/grpc-js");
require("@grpc/grpc-js-xds").register();

const insecure = grpc.credentials.createInsecure();
const client = new grpc.Client(process.argv[2], insecure);

function ask() {
  const deadline = new Date(Date.now() + 5000);
  const nothing = () => Buffer.alloc(0);
  // A google.protobuf.StringValue: a tag and a length of one byte each, and the text.
  const name = (bytes) => bytes.subarray(2).toString();
  client.makeUnaryRequest("/bellwether.test.Names/Ask", nothing, name, null, { deadline }, (error, answer) => {
    console.log(error ? `error ${grpc.status[error.code]} ${error.details}` : `answer ${answer}`);
    setTimeout(ask, 50);
  });
}

const server = new grpc.Server();
grpc.addAdminServicesToServer(server);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`csds http://127.0.0.1:${port}`);
  ask();
});
