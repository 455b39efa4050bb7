import com.google.protobuf.Empty;
import com.google.protobuf.StringValue;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.xds.CsdsService;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

/**
 * Dials the target in its first argument, makes the calls in the others by turns, says who answers, and
 * serves its own CSDS.
 */
public final class Caller {
  private static MethodDescriptor<Empty, StringValue> method(String path) {
    return MethodDescriptor.<Empty, StringValue>newBuilder()
        .setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName(path.substring(1))
        .setRequestMarshaller(ProtoUtils.marshaller(Empty.getDefaultInstance()))
        .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
        .build();
  }

  private static Metadata metadata(String[] call) {
    Metadata metadata = new Metadata();
    for (int i = 1; i < call.length; i++) {
      String[] pair = call[i].split("=");
      metadata.put(Metadata.Key.of(pair[0], Metadata.ASCII_STRING_MARSHALLER), pair[1]);
    }
    return metadata;
  }

  public static void main(String[] arguments) throws Exception {
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", 0);
    Server server = NettyServerBuilder.forAddress(address, InsecureServerCredentials.create())
        .addService(CsdsService.newInstance()).build().start();
    System.out.println("csds http://127.0.0.1:" + server.getPort());
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    for (int turn = 0; ; turn++) {
      int number = turn % (arguments.length - 1);
      String[] call = arguments[number + 1].split(" ");
      Channel with = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(metadata(call)));
      try {
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS);
        StringValue name = ClientCalls.blockingUnaryCall(with, method(call[0]), options, Empty.getDefaultInstance());
        System.out.println(number + " answer " + name.getValue());
      } catch (StatusRuntimeException error) {
        Status status = error.getStatus();
        System.out.println(number + " error " + status.getCode() + " " + status.getDescription());
      }
      Thread.sleep(20);
    }
  }
}
