package conformance

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// graphFile is a file of testdata/conformance: graphs in the text form.
type graphFile struct {
	Source string `json:"source"`
	Cases  []struct {
		Name     string            `json:"name"`
		Graph    []string          `json:"graph"` // lines
		Sequence bool              `json:"sequence"`
		Atol     float64           `json:"atol"`
		Rtol     float64           `json:"rtol"`
		Without  map[string]string `json:"without"`
		Runs     []struct {
			Rows    int            `json:"rows"`
			Seed    string         `json:"seed"` // a decimal, since JSON's numbers are too short
			Step    string         `json:"step"`
			Reset   bool           `json:"reset"`
			Inputs  map[string]any `json:"inputs"`
			Outputs map[string]any `json:"outputs"`
		} `json:"runs"`
	} `json:"cases"`
}

func graphCases(name string) ([]Case, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var f graphFile
	if err := json.Unmarshal(data, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	op := strings.TrimSuffix(filepath.Base(name), ".json")
	var all []Case
	for _, in := range f.Cases {
		c := Case{
			Name: "operator/" + op + "/" + in.Name, Source: Source{Format: "graph", Producer: f.Source},
			Sequence: in.Sequence, Atol: in.Atol, Rtol: in.Rtol, Without: in.Without,
			Graph: func() (*graph.Graph, error) { return graph.Parse(strings.Join(in.Graph, "\n") + "\n") },
		}
		for _, r := range in.Runs {
			run := Run{Rows: r.Rows, Reset: r.Reset}
			if run.Inputs, err = flat("", r.Inputs); err != nil {
				return nil, err
			}
			if run.Outputs, err = flat("", r.Outputs); err != nil {
				return nil, err
			}
			if r.Seed != "" {
				if run.Noise.Seed, err = strconv.ParseUint(r.Seed, 10, 64); err != nil {
					return nil, err
				}
			}
			if r.Step != "" {
				if run.Noise.Step, err = strconv.ParseUint(r.Step, 10, 64); err != nil {
					return nil, err
				}
			}
			c.Runs = append(c.Runs, run)
		}
		all = append(all, c)
	}
	return all, nil
}

// flat reads the elements of tensors by name. A dict of inputs is one input
// for each of its keys.
func flat(dir string, in map[string]any) (map[string][]float64, error) {
	out := map[string][]float64{}
	for name, v := range in {
		if m, ok := v.(map[string]any); ok && m["npy"] == nil {
			inner, err := flat(dir, m)
			if err != nil {
				return nil, err
			}
			maps.Copy(out, inner)
			continue
		}
		d, err := read(dir, v)
		if err != nil {
			return nil, err
		}
		out[name] = d.flat
	}
	return out, nil
}
