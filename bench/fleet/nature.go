package fleet

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// NatureRequestFile is the name under which Nature writes a body of POST
// /predict beside the artifact.
const NatureRequestFile = "request.json"

// natureShape is an observation: four images of 84 by 84 points.
var natureShape = []int{4, 84, 84}

// parameter is a tensor of the network by the name of its layer.
type parameter struct {
	name  string
	shape []int
}

// natureParameters are those of the network of Mnih et al., "Human-level
// control through deep reinforcement learning", Nature 518 (2015), with a
// linear head for six actions: 1,687,206 numbers.
var natureParameters = []parameter{
	{"conv1.weight", []int{32, 4, 8, 8}}, {"conv1.bias", []int{32}},
	{"conv2.weight", []int{64, 32, 4, 4}}, {"conv2.bias", []int{64}},
	{"conv3.weight", []int{64, 64, 3, 3}}, {"conv3.bias", []int{64}},
	{"fc.weight", []int{512, 3136}}, {"fc.bias", []int{512}},
	{"head.weight", []int{6, 512}}, {"head.bias", []int{6}},
}

const natureCard = `model_name: nature
version: v0.1.0
model_type: state_dict
model_filename: model.safetensors
input_shape: [4, 84, 84]
output_shape: [6]
architecture:
  inputs: {obs: [4, 84, 84]}
  layers:
  - {conv: conv1, stride: 4}
  - relu
  - {conv: conv2, stride: 2}
  - relu
  - {conv: conv3}
  - relu
  - flatten
  - {linear: fc}
  - relu
  - {linear: head}
`

// Nature writes an artifact of the size of a Nature CNN into dir, with weights
// that were drawn, and a request beside it.
func Nature(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	header := map[string]any{}
	var data []byte
	random := rand.New(rand.NewPCG(3, 4))
	for _, p := range natureParameters {
		n, fan := 1, 1
		for i, d := range p.shape {
			n *= d
			if i > 0 {
				fan *= d
			}
		}
		begin := len(data)
		scale := 1 / math.Sqrt(float64(fan))
		for range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(scale*random.NormFloat64())))
		}
		header[p.name] = map[string]any{"dtype": "F32", "shape": p.shape, "data_offsets": []int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	file = append(append(file, text...), data...)
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), file, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "model_card.yaml"), []byte(natureCard), 0o644); err != nil {
		return err
	}
	row := make([]float64, natureShape[0]*natureShape[1]*natureShape[2])
	for i := range row {
		row[i] = float64(random.IntN(256)) / 256
	}
	body, err := json.Marshal(map[string]any{"observations": [][]float64{row}, "deterministic": true})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, NatureRequestFile), body, 0o644)
}
