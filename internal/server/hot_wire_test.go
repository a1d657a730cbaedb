package server_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/tools/callcount/hot"
)

// message is a POST of a body.
func message(path, header, body string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-API-Key: k\r\n" + header + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
}

// binaryTensors is the guide's observation in the binary form of the Open
// Inference Protocol.
func binaryTensors() (header, body string) {
	text := `{"inputs":[{"name":"speed","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},` +
		`{"name":"steering","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}},` +
		`{"name":"sensors","shape":[1,5],"datatype":"FP32","parameters":{"binary_data_size":20}}],"parameters":{"binary_data_output":true}}`
	blob := []byte(text)
	for _, x := range []float32{25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1} {
		blob = binary.LittleEndian.AppendUint32(blob, math.Float32bits(x))
	}
	return "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: " + itoa(len(text)) + "\r\n", string(blob)
}

// TestHotRequests holds whole requests over a connection in memory, the
// client's end among them, to what they may allocate.
func TestHotRequests(t *testing.T) {
	const plain = "Content-Type: application/json\r\n"
	tensors := `{"inputs":[{"name":"speed","shape":[1],"datatype":"FP32","data":[25.5]},{"name":"steering","shape":[1],"datatype":"FP32","data":[0.1]},` +
		`{"name":"sensors","shape":[1,5],"datatype":"FP32","data":[0.8,0.2,0.5,0.9,0.1]}]}`
	header, blob := binaryTensors()
	keys, err := server.NewKeys(server.PlainKey("k", server.ScopeInfer), server.PlainKey("l", server.ScopeInfer))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name   string
		allocs float64
		o      server.Options
		data   []byte
	}{
		{"server /predict", 0, server.Options{}, predictMessage},
		{"server /predict guarded", 0, server.Options{Keys: keys, AllowedHosts: []string{"a.example", "127.0.0.1"}, CORSOrigins: []string{"https://a.example"}}, predictMessage},
		{"server infer json", 0, server.Options{}, message("/v2/models/carla-ppo/infer", plain, tensors)},
		{"server infer binary", 0, server.Options{}, message("/v2/models/carla-ppo/infer", header, blob)},
	} {
		k.o.Limits = fast()
		s, err := server.New(&fakeBackend{contract: driving()}, k.o)
		if err != nil {
			t.Fatal(err)
		}
		trip, _ := exchanges(t, s, k.data)
		hot.Path(t, k.name, 1000, k.allocs, trip)
	}
}
