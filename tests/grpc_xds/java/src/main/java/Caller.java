import com.google.protobuf.Empty;
import com.google.protobuf.StringValue;
import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.xds.CsdsService;
import java.net.InetSocketAddress;
import java.util.concurrent.TimeUnit;

/** Dials the target in its argument, says who answers, and serves its own CSDS. */
public final class Caller {
  private static final MethodDescriptor<Empty, StringValue> ASK = MethodDescriptor.<Empty, StringValue>newBuilder()
      .setType(MethodDescriptor.MethodType.UNARY)
      .setFullMethodName("bellwether.test.Names/Ask")
      .setRequestMarshaller(ProtoUtils.marshaller(Empty.getDefaultInstance()))
      .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
      .build();

  public static void main(String[] arguments) throws Exception {
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", 0);
    Server server = NettyServerBuilder.forAddress(address, InsecureServerCredentials.create())
        .addService(CsdsService.newInstance()).build().start();
    System.out.println("csds http://127.0.0.1:" + server.getPort());
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    while (true) {
      try {
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(5, TimeUnit.SECONDS);
        StringValue name = ClientCalls.blockingUnaryCall(channel, ASK, options, Empty.getDefaultInstance());
        System.out.println("answer " + name.getValue());
      } catch (StatusRuntimeException error) {
        System.out.println("error " + error.getStatus().getCode() + " " + error.getStatus().getDescription());
      }
      Thread.sleep(50);
    }
  }
}
