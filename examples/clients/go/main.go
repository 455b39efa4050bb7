// Follows the resources of a Bellwether server by delta xDS, and prints what changes.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/signal"
	"strings"
	"syscall"
	"time"

	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/anypb"

	native "example.com/bellwether-client/stubs/bellwether/v1"
	core "example.com/bellwether-client/stubs/envoy/config/core/v3"
	discovery "example.com/bellwether-client/stubs/envoy/service/discovery/v3"
)

const url = "type.googleapis.com/bellwether.v1."
const backoff, backoffMax = 100 * time.Millisecond, 10 * time.Second

var server = flag.String("server", "127.0.0.1:18000", "HOST:PORT of the server")
var node = flag.String("node", "example-go", "who we are")
var fleet = flag.String("fleet", "default", "whose resources")
var refuse = flag.String("refuse", "", "reject the resource of this name, whatever it holds")

// What is referred to comes before what refers to it.
var types = flag.String("types", "Endpoints,Cluster,Certificate,Consumer,GlobalRule,Route", "which ones")

// What is in force of one type (name to version), and what is not.
type lane struct {
	held     map[string]string
	rejected map[string]*native.Rejection
}

var lanes = map[string]lane{}

// The error_detail of a NACK. It names what was rejected; the rest of the response is in force.
func status(rejected map[string]*native.Rejection) *rpc.Status {
	if len(rejected) == 0 {
		return nil
	}
	detail, named := &rpc.Status{Code: int32(codes.InvalidArgument)}, &native.Rejections{}
	for name, rejection := range rejected {
		detail.Message += name + ": " + rejection.Reason + "; "
		named.Rejected = append(named.Rejected, rejection)
	}
	packed, _ := anypb.New(named)
	detail.Details = []*anypb.Any{packed}
	return detail
}

// One connection, until it ends. Calls `heard` for every response.
func follow(ctx context.Context, heard func()) error {
	alive := keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}
	channel, err := grpc.NewClient(*server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(alive), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<31-1)))
	if err != nil {
		return err
	}
	defer channel.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(channel).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	// What is held and what was rejected is said again, so that only what differs is sent. When a
	// request can't be sent the stream has ended, and Recv says why.
	for _, kind := range strings.Split(*types, ",") {
		_ = stream.Send(&discovery.DeltaDiscoveryRequest{
			Node:    &core.Node{Id: *node, Cluster: *fleet, UserAgentName: "example-go"},
			TypeUrl: url + kind, ResourceNamesSubscribe: []string{"*"},
			InitialResourceVersions: lanes[kind].held, ErrorDetail: status(lanes[kind].rejected)})
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		heard()
		_ = stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl,
			ResponseNonce: response.Nonce, ErrorDetail: apply(response)})
	}
}

// Puts a response in force. The error of a NACK, or nil.
func apply(response *discovery.DeltaDiscoveryResponse) *rpc.Status {
	kind := strings.TrimPrefix(response.TypeUrl, url)
	lane, bad := lanes[kind], map[string]*native.Rejection{}
	for _, resource := range response.Resources {
		name, version := resource.Name, resource.Version
		if err := read(kind, resource); err != nil {
			bad[name] = &native.Rejection{Name: name, Version: version, Reason: err.Error()}
			lane.rejected[name] = bad[name]
			fmt.Println("nack", kind, name, version, err)
			continue
		}
		sign := map[bool]string{true: "~", false: "+"}[lane.held[name] != ""]
		fmt.Println(sign, kind, name, version)
		lane.held[name] = version
		delete(lane.rejected, name)
	}
	for _, name := range response.RemovedResources {
		if lane.held[name] != "" {
			fmt.Println("-", kind, name)
		}
		delete(lane.held, name)
		delete(lane.rejected, name)
	}
	return status(bad)
}

// Why a resource can't be read, or nil. A program would put the message in force here.
func read(kind string, resource *discovery.Resource) error {
	switch got := resource.Resource.GetTypeUrl(); {
	case resource.Name == *refuse:
		return fmt.Errorf("refused by --refuse")
	case got != url+kind:
		return fmt.Errorf("its body is a %q", got)
	}
	_, err := resource.Resource.UnmarshalNew()
	return err
}

func main() {
	flag.Parse()
	for _, kind := range strings.Split(*types, ",") {
		lanes[kind] = lane{map[string]string{}, map[string]*native.Rejection{}}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	for failures := 0; ctx.Err() == nil; failures++ {
		if err := follow(ctx, func() { failures = 0 }); ctx.Err() == nil {
			fmt.Println("lost:", err)
		}
		select {
		case <-time.After(rand.N(min(backoffMax, backoff<<min(failures, 20)))):
		case <-ctx.Done():
		}
	}
	fmt.Println("stopped")
}
