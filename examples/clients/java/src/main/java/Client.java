import static java.util.stream.Collectors.joining;

import bellwether.v1.Resource.Rejection;
import bellwether.v1.Resource.Rejections;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Parser;
import envoy.config.core.v3.Base.Node;
import envoy.service.discovery.v3.AggregatedDiscoveryServiceGrpc;
import envoy.service.discovery.v3.Discovery.DeltaDiscoveryRequest;
import envoy.service.discovery.v3.Discovery.DeltaDiscoveryResponse;
import google.rpc.StatusOuterClass.Status;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Follows the resources of a Bellwether server by delta xDS, and prints what changes. */
public final class Client {
  private static final String URL = "type.googleapis.com/bellwether.v1.";
  private static final long BACKOFF_MS = 100, BACKOFF_MAX_MS = 10_000;
  private static final Map<String, Parser<?>> PARSERS = Map.of(
      "Endpoints", bellwether.v1.Resource.Endpoints.parser(),
      "Cluster", bellwether.v1.Resource.Cluster.parser(),
      "Certificate", bellwether.v1.Resource.Certificate.parser(),
      "Consumer", bellwether.v1.Resource.Consumer.parser(),
      "GlobalRule", bellwether.v1.Resource.GlobalRule.parser(),
      "Route", bellwether.v1.Resource.Route.parser());

  /** What is in force of one type (name to version), and what is not. */
  private record Lane(Map<String, String> held, Map<String, Rejection> rejected) {}

  private final Map<String, Lane> lanes = new LinkedHashMap<>();
  private final Map<String, String> options;
  private volatile int failures;
  private StreamObserver<DeltaDiscoveryRequest> requests;

  private Client(Map<String, String> options) {
    this.options = options;
    for (String kind : options.get("--types").split(",")) {
      lanes.put(kind, new Lane(new TreeMap<>(), new TreeMap<>()));
    }
  }

  /** One connection, until it ends. */
  private void follow() throws InterruptedException {
    ManagedChannel channel = NettyChannelBuilder.forTarget(options.get("--server")).usePlaintext()
        .keepAliveTime(10, TimeUnit.SECONDS).keepAliveTimeout(5, TimeUnit.SECONDS)
        .maxInboundMessageSize(Integer.MAX_VALUE).build();
    var ended = new CompletableFuture<String>();
    var responses = new StreamObserver<DeltaDiscoveryResponse>() {
      @Override public void onNext(DeltaDiscoveryResponse response) {
        failures = 0;
        answer(response);
      }
      @Override public void onError(Throwable error) { ended.complete(error.getMessage()); }
      @Override public void onCompleted() { ended.complete("the server ended the stream"); }
    };
    Node node = Node.newBuilder().setId(options.get("--node")).setCluster(options.get("--fleet"))
        .setUserAgentName("example-java").build();
    // Responses come on other threads, and only one at a time may send.
    synchronized (this) {
      requests = AggregatedDiscoveryServiceGrpc.newStub(channel).deltaAggregatedResources(responses);
      // What is held and what was rejected is said again, so that only what differs is sent.
      lanes.forEach((kind, lane) -> requests.onNext(reject(lane.rejected).setNode(node).setTypeUrl(URL + kind)
          .addResourceNamesSubscribe("*").putAllInitialResourceVersions(lane.held).build()));
    }
    System.out.println("lost: " + ended.join());
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }

  /** A NACK names what was rejected; the rest of the response is in force. An ACK has no error. */
  private static DeltaDiscoveryRequest.Builder reject(Map<String, Rejection> rejected) {
    var request = DeltaDiscoveryRequest.newBuilder();
    if (!rejected.isEmpty()) {
      var named = Rejections.newBuilder().addAllRejected(rejected.values()).build();
      String text = rejected.values().stream().map(why -> why.getName() + ": " + why.getReason()).collect(joining("; "));
      request.setErrorDetail(Status.newBuilder().setCode(io.grpc.Status.Code.INVALID_ARGUMENT.value())
          .setMessage(text).addDetails(Any.pack(named)));
    }
    return request;
  }

  /** Puts a response in force, and answers with its ACK or NACK. */
  private synchronized void answer(DeltaDiscoveryResponse response) {
    String kind = response.getTypeUrl().substring(URL.length());
    Lane lane = lanes.get(kind);
    var bad = new TreeMap<String, Rejection>();
    for (var resource : response.getResourcesList()) {
      String name = resource.getName();
      String what = kind + " " + name + " " + resource.getVersion();
      try {
        read(kind, name, resource.getResource());
        System.out.println((lane.held.containsKey(name) ? "~ " : "+ ") + what);
        lane.held.put(name, resource.getVersion());
        lane.rejected.remove(name);
      } catch (InvalidProtocolBufferException error) {
        System.out.println("nack " + what + " " + error.getMessage());
        bad.put(name, Rejection.newBuilder().setName(name).setVersion(resource.getVersion())
            .setReason(error.getMessage()).build());
      }
    }
    lane.rejected.putAll(bad);
    for (String name : response.getRemovedResourcesList()) {
      lane.rejected.remove(name);
      if (lane.held.remove(name) != null) {
        System.out.println("- " + kind + " " + name);
      }
    }
    requests.onNext(reject(bad).setTypeUrl(response.getTypeUrl()).setResponseNonce(response.getNonce()).build());
  }

  /** A program would put the message in force here. */
  private void read(String kind, String name, Any body) throws InvalidProtocolBufferException {
    if (name.equals(options.get("--refuse"))) {
      throw new InvalidProtocolBufferException("refused by --refuse");
    }
    if (!body.getTypeUrl().equals(URL + kind)) {
      throw new InvalidProtocolBufferException("its body is a " + body.getTypeUrl());
    }
    PARSERS.get(kind).parseFrom(body.getValue());
  }

  public static void main(String[] arguments) throws InterruptedException {
    // What is referred to comes before what refers to it.
    var options = new TreeMap<>(Map.of("--server", "127.0.0.1:18000", "--node", "example-java", "--fleet", "default",
        "--types", "Endpoints,Cluster,Certificate,Consumer,GlobalRule,Route", "--refuse", ""));
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      options.put(arguments[i], arguments[i + 1]);
    }
    var client = new Client(options);
    // The JVM itself would say 143, "ended by a signal".
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      System.out.println("stopped");
      Runtime.getRuntime().halt(0);
    }));
    while (true) {
      client.follow();
      long longest = Math.min(BACKOFF_MAX_MS, BACKOFF_MS << Math.min(client.failures++, 20));
      Thread.sleep(ThreadLocalRandom.current().nextLong(longest));
    }
  }
}
