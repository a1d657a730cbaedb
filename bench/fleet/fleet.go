// Package fleet makes artifacts to load: many small driving policies, each with
// weights of its own, and one network of the size of a Nature CNN.
//
// What enters is a folder, what leaves are files that the server opens as it
// opens those of a trainer. Nothing but Go is needed. The package imports the
// demo policy, of which the small ones are made.
package fleet

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/demo"
)

// spread is how far a weight is moved, as a share of itself.
const spread = 0.02

// Request is a body of POST /predict that every policy of a fleet answers.
const Request = `{"observations":[{"speed":25.5,"steering":0.1,"sensors":[0.8,0.2,0.5,0.9,0.1]}],"deterministic":true}`

// Name is the name of model i of a fleet.
func Name(i int) string { return fmt.Sprintf("driver-%04d", i) }

// Make writes n models below dir, each an artifact of one version in a folder
// of its name: the demo policy's network of 7-64-64-3 with other weights, its
// preprocessor, and a card with the digests of both.
func Make(dir string, n int) error {
	artifact, err := fs.Sub(demo.FS, demo.Dir)
	if err != nil {
		return err
	}
	model, err := fs.ReadFile(artifact, "model.pt")
	if err != nil {
		return err
	}
	preprocessor, err := fs.ReadFile(artifact, "preprocessor.pkl")
	if err != nil {
		return err
	}
	for i := range n {
		moved, err := move(model, rand.New(rand.NewPCG(1, uint64(i))))
		if err != nil {
			return err
		}
		folder := filepath.Join(dir, Name(i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for name, data := range map[string][]byte{
			"model.pt": moved, "preprocessor.pkl": preprocessor, "model_card.yaml": []byte(card(Name(i), moved, preprocessor)),
		} {
			if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func card(name string, model, preprocessor []byte) string {
	return fmt.Sprintf(`model_name: %s
version: v0.1.0
model_type: torchscript
input_shape: [7]
output_shape: [3]
artifact_hashes:
  model.pt: sha256:%x
  preprocessor.pkl: sha256:%x
observation:
- {name: speed, unit: km/h, low: 0, high: 200}
- {name: steering, low: -1, high: 1}
- {name: sensors, shape: [5], low: 0, high: 1}
action:
- {name: throttle, low: 0, high: 1}
- {name: brake, low: 0, high: 1}
- {name: steer, low: -1, high: 1}
postprocess: clip
deterministic_default: true
`, name, sha256.Sum256(model), sha256.Sum256(preprocessor))
}

// move returns the model with each weight moved a little. The tensors of a
// TorchScript file are its members data/0, data/1, ..., in float32.
func move(model []byte, random *rand.Rand) ([]byte, error) {
	r, err := zip.NewReader(bytes.NewReader(model), int64(len(model)))
	if err != nil {
		return nil, fmt.Errorf("the model of the demo: %w", err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		data, err := read(f)
		if err != nil {
			return nil, err
		}
		if dir, base := path.Split(f.Name); strings.HasSuffix(dir, "/data/") && strings.Trim(base, "0123456789") == "" {
			for i := 0; i+4 <= len(data); i += 4 {
				v := math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
				v *= float32(1 + spread*random.NormFloat64())
				binary.LittleEndian.PutUint32(data[i:], math.Float32bits(v))
			}
		}
		// As torch writes them: not compressed.
		m, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := m.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func read(f *zip.File) ([]byte, error) {
	m, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	defer m.Close()
	data, err := io.ReadAll(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return data, nil
}
