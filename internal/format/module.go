package format

import (
	"fmt"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchexport"
	"github.com/carla-rl/carla-rl-serving/internal/format/torchmodule"
	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// moduleNetwork is a whole module of torch.save.
type moduleNetwork struct{ m *torchmodule.Module }

// Lower makes the graph of forward.
func (n *moduleNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.Method != "" && o.Method != "forward" {
		return nil, fmt.Errorf("method %q: a pickled module has only forward", o.Method)
	}
	return n.m.Lower(torchmodule.Options{InputShapes: o.InputShapes, Rows: o.Rows})
}

// Describe tells what the file holds. The shape of the input is that which
// the layers tell, where they do.
func (n *moduleNetwork) Describe() Description {
	d := Description{
		Format: "torch module", Producer: "torch 1.6 or later", Methods: []string{"forward"}, Layers: n.m.Layers(),
		Notes: []string{"The module is a " + n.m.Class + "."},
	}
	if n.m.Key != "" {
		d.Notes = append(d.Notes, fmt.Sprintf("The module is the one that the file holds under the key %q.", n.m.Key))
	}
	for _, name := range n.m.InputNames() {
		d.Inputs = append(d.Inputs, InputDescription{Name: name, DType: graph.Float32})
	}
	if g, err := n.Lower(LowerOptions{}); err == nil {
		for i := range d.Inputs {
			d.Inputs[i].DType, d.Inputs[i].Shape = g.Inputs[i].DType, g.Inputs[i].Shape
		}
	}
	describeTensors(&d, n.m.Tensors())
	return d
}

// programNetwork is a program of torch.export.
type programNetwork struct{ p *torchexport.Program }

// Lower makes the graph of the program.
func (n *programNetwork) Lower(o LowerOptions) (*graph.Graph, error) {
	if o.Method != "" && o.Method != "forward" {
		return nil, fmt.Errorf("method %q: a program of torch.export has only forward", o.Method)
	}
	return n.p.Lower(torchexport.Options{InputShapes: o.InputShapes, Rows: o.Rows})
}

// Describe tells what the archive holds.
func (n *programNetwork) Describe() Description {
	d := Description{Format: "torch.export", Producer: "torch", Methods: []string{"forward"}, HasSampling: n.p.HasSampling(), Recurrent: n.p.Recurrent()}
	if n.p.Version != "" {
		d.Producer += " " + n.p.Version
	}
	for _, in := range n.p.Inputs {
		d.Inputs = append(d.Inputs, InputDescription{in.Name, in.DType, in.Shape})
	}
	describeTensors(&d, n.p.Tensors)
	if n.p.Static > 0 {
		n.describeStatic(&d)
	}
	return d
}

// describeStatic tells what a program for a fixed number of rows is taken for,
// as its operators allow it.
func (n *programNetwork) describeStatic(d *Description) {
	g, err := n.Lower(LowerOptions{})
	if err != nil || len(g.Inputs) < len(d.Inputs) {
		d.Notes = append(d.Notes, fmt.Sprintf("The program was exported for %d rows.", n.p.Static))
		return
	}
	for i := range d.Inputs {
		d.Inputs[i].Shape = g.Inputs[i].Shape
	}
	if rows := n.p.RowsOf(g); rows > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("The program was exported for %d rows; it is taken for any number of them.", rows))
		return
	}
	d.Notes = append(d.Notes, "The program was exported for fixed shapes; its operators allow no others.")
}
