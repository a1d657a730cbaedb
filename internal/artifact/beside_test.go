package artifact_test

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

func TestBeside(t *testing.T) {
	fsys := fstest.MapFS{
		"p/policy.onnx":      {Data: []byte("network")},
		"p/policy.onnx.data": {Data: []byte("tensors")},
		"p/secret":           {Data: []byte("secret")},
	}
	f := func(name string, a *artifact.Artifact, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		data, err := a.Beside("policy.onnx.data")
		if err != nil || string(data) != "tensors" {
			t.Errorf("%s: the tensors beside the model are %q, %v", name, data, err)
		}
		if m := a.Member(artifact.RoleModelData); m == nil || m.Size != 7 || len(m.SHA256) != 64 {
			t.Errorf("%s: member = %+v, want the file with its digest", name, m)
		}
		for _, other := range []string{"secret", "../p/secret", "policy.onnx", "", "."} {
			if data, err := a.Beside(other); !errors.Is(err, artifact.ErrMissing) {
				t.Errorf("%s: Beside(%q) = %q, %v; want ErrMissing", name, other, data, err)
			}
		}
	}
	folder, err := artifact.Open(fsys, "p", artifact.Limits{})
	f("a folder", folder, err)
	file, err := artifact.OpenFile(fsys, "p/policy.onnx", artifact.Limits{})
	f("a file", file, err)
}

func TestBesideIsHeldToItsDigest(t *testing.T) {
	fsys := fstest.MapFS{
		"model_card.yaml": {Data: []byte("model_name: m\nversion: v1.0.0\nmodel_type: onnx\nartifact_hashes:\n  model.onnx.data: " +
			"403f8b421a84690f301ece1c88f95f7298f66faab7b5b59dbe4d5d1358c8c4a3\n")},
		"model.onnx":      {Data: []byte("network")},
		"model.onnx.data": {Data: []byte("tensors")},
	}
	if _, err := artifact.Open(fsys, ".", artifact.Limits{}); !errors.Is(err, artifact.ErrHash) {
		t.Errorf("Open with another digest = %v, want ErrHash", err)
	}
}
