package torchexport

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxTreeDepth bounds the nesting of arguments and results.
const maxTreeDepth = 16

// tree is how tensors are nested in arguments or results.
type tree struct {
	kind     string // "" for a leaf, else tuple, list, dict, or the name of another type
	keys     []string
	children []*tree
}

// treeJSON is a node of a tree as torch writes it.
type treeJSON struct {
	Type     *string        `json:"type"`
	Context  jsontext.Value `json:"context"`
	Children []treeJSON     `json:"children_spec"`
}

// parseTree reads the text of a tree: its version and its root.
func parseTree(text string) (*tree, error) {
	var parts []jsontext.Value
	if err := json.Unmarshal([]byte(text), &parts); err != nil {
		return nil, err
	}
	if len(parts) != 2 {
		return nil, errors.New("a version and a node were wanted")
	}
	var root treeJSON
	if err := json.Unmarshal(parts[1], &root); err != nil {
		return nil, err
	}
	return root.tree(0)
}

func (j *treeJSON) tree(depth int) (*tree, error) {
	if depth > maxTreeDepth {
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrLimit, maxTreeDepth)
	}
	t := &tree{}
	if j.Type == nil {
		return t, nil
	}
	t.kind = (*j.Type)[strings.LastIndexByte(*j.Type, '.')+1:]
	if t.kind == "" {
		return nil, errors.New("a node without a type")
	}
	for i := range j.Children {
		c, err := j.Children[i].tree(depth + 1)
		if err != nil {
			return nil, err
		}
		t.children = append(t.children, c)
	}
	if t.kind != "dict" && t.kind != "OrderedDict" {
		return t, nil
	}
	// The context of a dict is the text of a JSON list of its keys.
	var context string
	if err := json.Unmarshal(j.Context, &context); err != nil {
		return nil, fmt.Errorf("keys of a dict: %w", err)
	}
	if err := json.Unmarshal([]byte(context), &t.keys); err != nil {
		return nil, unsupportedf("a dict with keys %.40q, texts were wanted", context)
	}
	if len(t.keys) != len(t.children) {
		return nil, fmt.Errorf("a dict of %d keys and %d values", len(t.keys), len(t.children))
	}
	t.kind = "dict"
	return t, nil
}

// leaves returns the number of leaves.
func (t *tree) leaves() int {
	if t.kind == "" {
		return 1
	}
	n := 0
	for _, c := range t.children {
		n += c.leaves()
	}
	return n
}

// names appends a name for each leaf: that of the argument, of the key of a
// dict, or of the argument with the position in a tuple.
func (t *tree) names(name string, to []string) []string {
	if t.kind == "" {
		return append(to, name)
	}
	for i, c := range t.children {
		below := name + strconv.Itoa(i)
		if t.kind == "dict" {
			below = t.keys[i]
		}
		to = c.names(below, to)
	}
	return to
}

// trees reads how inputs and outputs are nested, and names the inputs by it.
func (d *decoder) trees(p *Program, m *program) error {
	for _, c := range m.GraphModule.ModuleCallGraph {
		if c.FQN != "" || c.Signature == nil {
			continue
		}
		in, err := parseTree(c.Signature.InSpec)
		if err != nil {
			return fmt.Errorf("in_spec: %w", err)
		}
		if p.outTree, err = parseTree(c.Signature.OutSpec); err != nil {
			return fmt.Errorf("out_spec: %w", err)
		}
		if p.outTree.leaves() != len(p.outputs) {
			return fmt.Errorf("out_spec has %d results, the graph %d", p.outTree.leaves(), len(p.outputs))
		}
		p.nameInputs(in, c.Signature.ForwardArgNames)
		return nil
	}
	return nil
}

// nameInputs names the inputs as forward does. Where the tree has other
// leaves, as None, the names of the JSON graph stay.
func (p *Program) nameInputs(in *tree, args []string) {
	if len(in.children) != 2 || in.leaves() != len(p.Inputs) || len(p.Inputs) == 0 {
		return
	}
	var names []string
	for i, c := range in.children[0].children {
		name := p.Inputs[min(len(names), len(p.Inputs)-1)].Name // older files do not name the arguments
		if i < len(args) {
			name = args[i]
		}
		names = c.names(name, names)
	}
	for i, c := range in.children[1].children {
		if i >= len(in.children[1].keys) {
			return
		}
		names = c.names(in.children[1].keys[i], names)
	}
	if len(names) != len(p.Inputs) {
		return
	}
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) != len(names) || slices.ContainsFunc(names, func(n string) bool { return n == "" || len(n) > maxName }) {
		return
	}
	for i := range p.Inputs {
		p.Inputs[i].Name = names[i]
	}
}
