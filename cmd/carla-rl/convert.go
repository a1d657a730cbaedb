package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/format/onnx"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
)

// convertCmd writes what it reads in another form.
type convertCmd struct {
	In           string   `arg:"" help:"Artifact folder, model file or preprocessor file."`
	Out          string   `arg:"" help:"What to write: a file that ends in .onnx, or a folder."`
	Preprocessor string   `placeholder:"FILE" help:"Preprocessor to use with a model file."`
	VecNormalize string   `name:"vecnormalize" placeholder:"FILE" help:"VecNormalize statistics to use with a model file."`
	InputShape   []string `name:"input-shape" sep:"none" placeholder:"[NAME=]N,..." help:"Shape of one observation, where a file without a card does not tell it; of a network with several inputs once for each, with its name."`
	Name         string   `help:"model_name of the card that is written."`
	ModelVersion string   `name:"model-version" placeholder:"VERSION" help:"version of the card that is written."`
	Vectors      int      `default:"8" help:"How many golden vectors a card gets that has none."`
	Seed         uint64   `default:"1" help:"Seed of the observations that are drawn."`
	Sampled      bool     `help:"Write the form that draws its actions into the ONNX file."`
	Masked       bool     `help:"Write an input for action masks into the ONNX file of a policy that takes them."`
	Rows         int      `placeholder:"N" help:"Write an ONNX file for exactly N rows, of a model whose rows do not go through it apart from each other."`
	ActionOnly   bool     `help:"Write the action alone into the ONNX file, and no other output."`
}

// Help tells what is written.
func (c *convertCmd) Help() string {
	return `OUT that ends in .onnx: one ONNX model of the whole policy, with its preprocessor and
what becomes of its output, so that observations go in and actions come out. The file
is read back and compared with the policy. What it cannot say is printed.

Any other OUT: an artifact folder with the model as it is, its preprocessor, and a
model_card.yaml with the contract, the SHA-256 of each file and golden vectors. Those
of the card that was read are kept; new ones are computed by the reference evaluator
of this program, and prove that the numbers stay, not that they were right.

Nothing that is there already is written over.

Examples:
  carla-rl convert model.zip policy.onnx --vecnormalize vecnormalize.pkl
  carla-rl convert model.zip artifacts/v0.1.0`
}

// Run converts and tells what was written.
func (c *convertCmd) Run(s stdio) error {
	if c.Vectors < 0 {
		return usage(errors.New("--vectors must not be negative"))
	}
	if c.Name != "" && !artifact.ValidName(c.Name) {
		return usage(fmt.Errorf("--name %q: a model name has letters, digits, dots, underscores and hyphens, at most 64", c.Name))
	}
	if _, err := os.Lstat(c.Out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: convert writes over nothing", c.Out)
	}
	toONNX := strings.EqualFold(filepath.Ext(c.Out), ".onnx")
	if c.Rows < 0 || c.Rows > rowsMax {
		return usage(fmt.Errorf("--rows must be from 1 to %d", rowsMax))
	}
	if !toONNX && (c.Sampled || c.Masked || c.ActionOnly || c.Rows > 0) {
		return usage(errors.New("--sampled, --masked, --action-only and --rows go with an OUT that ends in .onnx"))
	}
	done, err := c.convert(toONNX)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.Out, done.what)
	for _, line := range done.lines {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if len(done.notes) > 0 {
		b.WriteString("\nNotes\n")
		for _, n := range done.notes {
			fmt.Fprintf(&b, "  - %s\n", n)
		}
	}
	_, err = fmt.Fprint(s.out, printable(b.String()))
	return err
}

// conversion is what was written, for people.
type conversion struct {
	what  string
	lines []string
	notes []string
}

func (c *convertCmd) convert(toONNX bool) (*conversion, error) {
	dir, note, err := artifactFolder(c.In)
	if err != nil {
		return nil, err
	}
	if !isFolder(dir) && c.Preprocessor == "" && c.VecNormalize == "" {
		// A preprocessor has no policy around it; what else is no model is
		// refused by what it is.
		o, err := openPath(dir)
		if err != nil {
			return nil, err
		}
		switch {
		case o.preprocessor != nil && !toONNX:
			return nil, fmt.Errorf("%s is a preprocessor: without a model it makes no artifact", c.In)
		case o.preprocessor != nil:
			g, err := o.preprocessor.Graph(anyWidth)
			if err != nil {
				return nil, err
			}
			return c.writeONNX(g, nil)
		case o.network == nil:
			return nil, fmt.Errorf("%s is %s: name its folder", c.In, o.what())
		}
	}
	files := artifact.Files{Preprocessor: c.Preprocessor, VecNormalize: c.VecNormalize}
	a, err := artifact.OpenPathWith(dir, files, artifact.Limits{})
	if err != nil {
		return nil, err
	}
	defer a.Release()
	shapes, err := parseShapes(c.InputShape)
	if err != nil {
		return nil, err
	}
	if err := shapes.giveShape(a); err != nil {
		return nil, err
	}
	p, err := policy.Open(a, policy.Options{})
	if err != nil {
		return nil, err
	}
	var done *conversion
	if toONNX {
		done, err = c.policyONNX(a, p, shapes)
	} else {
		done, err = c.writeArtifact(a, p)
	}
	if err == nil && note != "" {
		done.notes = append([]string{note}, done.notes...)
	}
	return done, err
}

// policyONNX writes the graph of a policy.
func (c *convertCmd) policyONNX(a *artifact.Artifact, p *policy.Policy, shapes *givenShapes) (*conversion, error) {
	if c.Masked && p.Contract().Masks == 0 {
		return nil, errors.New("--masked: the policy takes no action masks")
	}
	g, notes, err := c.rowsGraph(a, p, shapes)
	if err != nil {
		return nil, err
	}
	if g == nil {
		notes = append(exportNotes(p, c.Sampled, c.Masked), notes...)
		g, err = exportGraph(p, c.Sampled, c.Masked, !c.ActionOnly)
	}
	if err != nil {
		return nil, err
	}
	done, err := c.writeONNX(g, p)
	if err != nil {
		return nil, err
	}
	done.notes = notes
	return done, nil
}

// writeONNX encodes a graph, reads it back, compares what it computes with
// the policy, where there is one, and writes the file.
func (c *convertCmd) writeONNX(g *graph.Graph, p *policy.Policy) (*conversion, error) {
	data, err := onnx.Encode(g, onnx.EncodeOptions{Producer: "carla-rl " + build().Version})
	if err != nil {
		return nil, err
	}
	if !c.Sampled { // Draws have keys of their own in each file.
		if err := c.readBack(g, data); err != nil {
			return nil, fmt.Errorf("the file that was made does not compute the same: %w", err)
		}
	}
	if err := writeNew(c.Out, data); err != nil {
		return nil, err
	}
	done := &conversion{what: fmt.Sprintf("an ONNX model of %d bytes", len(data))}
	for _, in := range g.Inputs {
		done.lines = append(done.lines, fmt.Sprintf("input   %s %v %v", in.Name, in.DType, in.Shape))
	}
	for i, name := range onnx.OutputNames(g) {
		v := g.Outputs[i].Value
		done.lines = append(done.lines, fmt.Sprintf("output  %s %v %v", name, v.DType, v.Shape))
	}
	return done, nil
}

// readBackRows is the number of observations on which a file is compared with
// what it was made of.
const readBackRows = 16

// readBack decodes the model and compares it with its graph on drawn inputs.
func (c *convertCmd) readBack(g *graph.Graph, data []byte) error {
	m, err := onnx.Decode(data, nil)
	if err != nil {
		return err
	}
	shapes := map[string][]int{}
	for _, in := range g.Inputs {
		shapes[in.Name] = in.Shape
	}
	o := onnx.Options{InputShapes: shapes}
	if !g.Batched() {
		o.Rows = 1
	}
	back, err := m.Lower(o)
	if err != nil {
		return err
	}
	v := &verification{Path: c.Out}
	if err := v.compareGraphs(back, g, readBackRows, c.Seed); err != nil {
		return err
	}
	return v.failure()
}

// writeNew writes a file that is not there yet, whole or not at all.
func writeNew(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
