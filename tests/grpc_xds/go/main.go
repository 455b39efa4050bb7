// Dials the target in its first argument, makes the calls in the others by turns, says who answers, and
// serves its own CSDS.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/admin"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
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
	calls := os.Args[2:]
	for turn := 0; ; turn++ {
		number := turn % len(calls)
		call := strings.Split(calls[number], " ")
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		for _, pair := range call[1:] {
			key, value, _ := strings.Cut(pair, "=")
			ctx = metadata.AppendToOutgoingContext(ctx, key, value)
		}
		name := &wrapperspb.StringValue{}
		err := channel.Invoke(ctx, call[0], &emptypb.Empty{}, name)
		cancel()
		if err != nil {
			fmt.Println(number, "error", status.Code(err), status.Convert(err).Message())
		} else {
			fmt.Println(number, "answer", name.Value)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
