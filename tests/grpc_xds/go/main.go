// Dials the target in its argument, says who answers, and serves its own CSDS.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/admin"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := grpc.NewServer()
	_, err = admin.Register(server)
	check(err)
	go func() { check(server.Serve(listener)) }()
	fmt.Printf("csds http://%s\n", listener.Addr())

	channel, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	for ; ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		name := &wrapperspb.StringValue{}
		err := channel.Invoke(ctx, "/bellwether.test.Names/Ask", &emptypb.Empty{}, name)
		cancel()
		if err != nil {
			fmt.Println("error", status.Code(err), status.Convert(err).Message())
		} else {
			fmt.Println("answer", name.Value)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
