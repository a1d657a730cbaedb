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

	Weights             string  `default:"float32" enum:"float32,bf16,int8" placeholder:"KIND" help:"Type that the weights of dense layers have in what is written: float32, bf16 or int8."`
	Tolerance           float64 `default:"0.02" placeholder:"NUMBER" help:"With --weights: how far an action may be from that of float32, absolute and relative, and the share of choices that may be others."`
	Samples             int     `default:"256" placeholder:"N" help:"With --weights: how many drawn observations are compared, beside the golden vectors."`
	AllowChangedChoices bool    `help:"With --weights: write a policy some of whose choices are others."`
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

--weights bf16 or int8 rounds the weights of dense and recurrent layers, where they are
large enough that fewer bytes are faster; inputs, sums, biases, convolutions and small
layers stay float32. The error against float32 is printed. What is beyond --tolerance is
refused; so is a policy that chooses otherwise on a golden vector of its card. A folder
then holds the whole policy as one ONNX model, and its card the tolerance.

Nothing that is there already is written over.

Examples:
  carla-rl convert model.zip policy.onnx --vecnormalize vecnormalize.pkl
  carla-rl convert model.zip artifacts/v0.1.0
  carla-rl convert artifacts/v0.1.0 artifacts/v0.2.0 --weights bf16`
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
	if !toONNX && (c.Sampled || c.Masked && !c.narrows() || c.ActionOnly || c.Rows > 0) {
		return usage(errors.New("--sampled, --masked, --action-only and --rows go with an OUT that ends in .onnx"))
	}
	if err := c.checkWeights(); err != nil {
		return usage(err)
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
			if c.narrows() {
				return nil, fmt.Errorf("%s is a preprocessor: it has no weights that --weights rounds", c.In)
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
	var n *narrowing
	if c.narrows() {
		if n, err = c.narrow(a, p); err != nil {
			return nil, err
		}
		if err := n.check(c.AllowChangedChoices); err != nil {
			return nil, err
		}
	}
	var done *conversion
	switch {
	case toONNX:
		done, err = c.policyONNX(a, p, shapes, n)
	case n != nil:
		done, err = c.writeNarrow(a, p, shapes, n)
	default:
		done, err = c.writeArtifact(a, p)
	}
	if err == nil && note != "" {
		done.notes = append([]string{note}, done.notes...)
	}
	return done, err
}

// policyONNX writes the graph of a policy.
func (c *convertCmd) policyONNX(a *artifact.Artifact, p *policy.Policy, shapes *givenShapes, n *narrowing) (*conversion, error) {
	g, notes, err := c.policyGraph(a, p, shapes)
	if err != nil {
		return nil, err
	}
	done, err := c.writeONNX(g, n)
	if err != nil {
		return nil, err
	}
	done.notes = notes
	return done, nil
}

// policyGraph is the graph of a policy as a file has it, and what it cannot
// say.
func (c *convertCmd) policyGraph(a *artifact.Artifact, p *policy.Policy, shapes *givenShapes) (*graph.Graph, []string, error) {
	if c.Masked && p.Contract().Masks == 0 {
		return nil, nil, errors.New("--masked: the policy takes no action masks")
	}
	g, notes, err := c.rowsGraph(a, p, shapes)
	if err != nil {
		return nil, nil, err
	}
	if g == nil {
		notes = append(exportNotes(p, c.Sampled, c.Masked), notes...)
		g, err = exportGraph(p, c.Sampled, c.Masked, !c.ActionOnly)
	}
	return g, notes, err
}

// encode makes the bytes of a graph, whose weights it rounds where they are to
// be narrow, reads them back and compares what they compute.
func (c *convertCmd) encode(g *graph.Graph, n *narrowing) ([]byte, error) {
	if n != nil {
		if err := n.engine.narrow(g); err != nil {
			return nil, err
		}
	}
	data, err := onnx.Encode(g, onnx.EncodeOptions{Producer: "carla-rl " + build().Version})
	if err != nil {
		return nil, err
	}
	if !c.Sampled { // Draws have keys of their own in each file.
		if err := c.readBack(g, data); err != nil {
			return nil, fmt.Errorf("the file that was made does not compute the same: %w", err)
		}
	}
	return data, nil
}

// writeONNX writes a graph as a file.
func (c *convertCmd) writeONNX(g *graph.Graph, n *narrowing) (*conversion, error) {
	data, err := c.encode(g, n)
	if err != nil {
		return nil, err
	}
	if err := writeNew(c.Out, data); err != nil {
		return nil, err
	}
	done := &conversion{what: fmt.Sprintf("an ONNX model of %d bytes", len(data))}
	if n != nil {
		done.lines = n.lines()
	}
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
