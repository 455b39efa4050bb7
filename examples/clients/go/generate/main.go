// Generates Go stubs from .proto files with protoc-gen-go and protoc-gen-go-grpc, as protoc does, without protoc.
package main

import (
	"bytes"
	"context"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// The import path of what is generated, and where it goes.
const stubs, folder = "example.com/bellwether-client/stubs", "stubs"

// What gRPC brings along already; a program may hold a message only once.
var brought = map[string]string{"google/rpc/status.proto": "google.golang.org/genproto/googleapis/rpc/status"}

// The folder with the files, and those that are wanted; what they import is generated too.
func main() {
	log.SetFlags(0)
	root, wanted := os.Args[1], os.Args[2:]
	resolver := protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}})
	compiler := protocompile.Compiler{Resolver: resolver, SourceInfoMode: protocompile.SourceInfoStandard}
	files, err := compiler.Compile(context.Background(), wanted...)
	check(err)
	request, seen := &pluginpb.CodeGeneratorRequest{}, map[string]bool{}
	for _, file := range files {
		add(request, file, seen)
	}
	parameters := []string{"paths=source_relative"}
	for _, file := range request.ProtoFile {
		name := file.GetName()
		if where := brought[name]; where != "" {
			parameters = append(parameters, "M"+name+"="+where)
		} else if !strings.HasPrefix(name, "google/protobuf/") {
			parameters = append(parameters, "M"+name+"="+path.Join(stubs, path.Dir(name)))
			request.FileToGenerate = append(request.FileToGenerate, name)
		}
	}
	request.Parameter = proto.String(strings.Join(parameters, ","))
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		run(plugin, request)
	}
}

// A file comes after what it imports.
func add(request *pluginpb.CodeGeneratorRequest, file protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		add(request, file.Imports().Get(i).FileDescriptor, seen)
	}
	descriptor := proto.Clone(protoutil.ProtoFromFileDescriptor(file)).(*descriptorpb.FileDescriptorProto)
	request.ProtoFile = append(request.ProtoFile, descriptor)
}

func run(plugin string, request *pluginpb.CodeGeneratorRequest) {
	input, err := proto.Marshal(request)
	check(err)
	command := exec.Command("go", "tool", plugin)
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	output, err := command.Output()
	check(err)
	response := &pluginpb.CodeGeneratorResponse{}
	check(proto.Unmarshal(output, response))
	if response.Error != nil {
		log.Fatalf("%s: %s", plugin, *response.Error)
	}
	for _, file := range response.File {
		name := filepath.Join(folder, file.GetName())
		check(os.MkdirAll(filepath.Dir(name), 0o755))
		check(os.WriteFile(name, []byte(file.GetContent()), 0o644))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
