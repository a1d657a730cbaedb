package onnx_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// pb writes one field of a protocol buffer that holds bytes.
func pb(number int, parts ...[]byte) []byte {
	b := bytes.Join(parts, nil)
	out := binary.AppendUvarint(nil, uint64(number)<<3|2)
	return append(binary.AppendUvarint(out, uint64(len(b))), b...)
}

func pbNumber(number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3), v)
}

// unknownModel is y = Unknown(x, w), with w in the file w.bin where outside is
// given.
func unknownModel(outside bool, rows ...[]byte) []byte {
	tensor := [][]byte{pbNumber(1, 2), pbNumber(2, 1), pb(8, []byte("w"))}
	if outside {
		entry := func(k, v string) []byte { return pb(13, pb(1, []byte(k)), pb(2, []byte(v))) }
		tensor = append(tensor, entry("location", "w.bin"), entry("offset", "4"), pbNumber(14, 1))
	} else {
		tensor = append(tensor, pb(9, floatBytes(1.5, -2)))
	}
	port := func(name string) []byte {
		shape := pb(2, pb(1, rows...), pb(1, pbNumber(1, 2)))
		return bytes.Join([][]byte{pb(1, []byte(name)), pb(2, pb(1, pbNumber(1, 1), shape))}, nil)
	}
	node := pb(1, pb(1, []byte("x")), pb(1, []byte("w")), pb(2, []byte("y")), pb(4, []byte("Unknown")))
	g := pb(7, node, pb(2, []byte("g")), pb(5, tensor...), pb(11, port("x")), pb(12, port("y")))
	return bytes.Join([][]byte{pbNumber(1, 9), pb(2, []byte("test")), g, pb(8, pb(1), pbNumber(2, 20))}, nil)
}

func floatBytes(x ...float32) []byte {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func whole(t *testing.T, data []byte, beside func(string) ([]byte, error), o onnx.Options) (*graph.Graph, error) {
	t.Helper()
	m, err := onnx.Decode(data, beside)
	if err != nil {
		t.Fatal(err)
	}
	_, reason := m.Lower(o)
	if !errors.Is(reason, errors.ErrUnsupported) || !strings.Contains(reason.Error(), "Unknown") {
		t.Fatalf("Lower: %v", reason)
	}
	return m.Whole(data, beside, o, reason)
}

// TestWhole holds that tensors of other files are in the bytes that an engine
// gets, which opens none.
func TestWhole(t *testing.T) {
	beside := func(name string) ([]byte, error) { return floatBytes(7, 1.5, -2), nil }
	batch := pb(2, []byte("batch"))
	data := unknownModel(true, batch)
	g, err := whole(t, data, beside, onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := g.Nodes[0].Attrs["model"].(*graph.Model)
	if !bytes.Contains(m.Data, floatBytes(1.5, -2)) || bytes.Contains(m.Data, []byte("w.bin")) {
		t.Errorf("the model is %q", m.Data)
	}
	if _, err := onnx.Decode(m.Data, nil); err != nil {
		t.Errorf("the model is not read again: %v", err)
	}
	if len(g.Inputs) != 1 || !g.Inputs[0].Shape.Equal(graph.Shape{graph.Batch, 2}) || g.Outputs[0].Name != "y" || g.Verify() != nil {
		t.Errorf("the graph is\n%s", g)
	}
	data = unknownModel(false, batch)
	if g, err = whole(t, data, nil, onnx.Options{Rows: 3}); err != nil || g.Batched() || g.Inputs[0].Shape[0] != 3 {
		t.Fatalf("three rows: %v", err)
	}
	if m = g.Nodes[0].Attrs["model"].(*graph.Model); !bytes.Equal(m.Data, data) {
		t.Error("a model without other files was changed")
	}
}

func TestWholeRefuses(t *testing.T) {
	one := pbNumber(1, 1)
	if _, err := whole(t, unknownModel(false, one), nil, onnx.Options{}); !errors.Is(err, graph.ErrMixesRows) {
		t.Errorf("a model of one row for many: %v", err)
	}
	if _, err := whole(t, unknownModel(false, one), nil, onnx.Options{Rows: 1}); err != nil {
		t.Errorf("a model of one row for one: %v", err)
	}
}
