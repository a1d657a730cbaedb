package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
)

// maxInlineElements is the number of elements up to which the text form has a
// constant's data. Longer ones are told by the start of a SHA-256.
const maxInlineElements = 16

// String returns the text form of the graph: one line for each input,
// constant (before its first use), node and output.
//
//	graph "demo"
//	%0 = input "obs" f32[B,2]
//	%1 = const "w" f32[1,2] {0.5,-1}
//	%2 = linear(%0,%1) f32[B,1]
//	%3 = clamp(%2) min=0 max=1 f32[B,1]
//	output "throttle" %3
//
// Values are numbered in the order of the lines. A constant of more than 16
// elements has "sha256:" and 16 hexadecimal digits in place of its data,
// taken over its type and elements. Parse reads the form back.
//
// A state is a line behind the outputs, and a graph that is an attribute
// stands behind its node's line as a block, in which values are numbered anew:
//
//	%3 = loop(%1,%2) carried=1 limit=9 f32[1]
//	  body "step"
//	  %0 = input "x" f32[1]
//	  ...
//	  end
//	state "h" "h_out" initial f32[1] {0.5} reset f32[1] {0}
func (g *Graph) String() string {
	p := printer{b: &strings.Builder{}}
	p.graph(g, "graph")
	return p.b.String()
}

func (p *printer) graph(g *Graph, keyword string) {
	p.numbers = map[*Value]int{}
	p.printf("%s %s\n", keyword, strconv.Quote(g.Name))
	for _, v := range g.Inputs {
		p.printf("%s = input %s %v%v\n", p.define(v), strconv.Quote(v.Name), v.DType, v.Shape)
	}
	for _, n := range g.Nodes {
		p.node(n)
	}
	for _, o := range g.Outputs {
		ref := p.ref(o.Value)
		p.printf("output %s %s\n", strconv.Quote(o.Name), ref)
	}
	for _, s := range g.States {
		p.state(g, s)
	}
}

type printer struct {
	b       *strings.Builder
	indent  string
	numbers map[*Value]int
}

func (p *printer) printf(format string, args ...any) {
	p.b.WriteString(p.indent)
	fmt.Fprintf(p.b, format, args...)
}

func (p *printer) state(g *Graph, s State) {
	in, out := "?", "?"
	if s.Input >= 0 && s.Input < len(g.Inputs) && g.Inputs[s.Input] != nil {
		in = g.Inputs[s.Input].Name
	}
	if s.Output >= 0 && s.Output < len(g.Outputs) {
		out = g.Outputs[s.Output].Name
	}
	line := strconv.Quote(in) + " " + strconv.Quote(out)
	if t := s.Initial; t != nil {
		line += fmt.Sprintf(" initial %v%v %s", t.DType, t.Shape, t.text())
	}
	if t := s.Reset; t != nil {
		line += fmt.Sprintf(" reset %v%v %s", t.DType, t.Shape, t.text())
	}
	p.printf("state %s\n", line)
}

func (p *printer) define(v *Value) string {
	p.numbers[v] = len(p.numbers)
	return "%" + strconv.Itoa(p.numbers[v])
}

// ref names a value; a constant is printed on its first use.
func (p *printer) ref(v *Value) string {
	if v == nil {
		return "%nil"
	}
	if i, ok := p.numbers[v]; ok {
		return "%" + strconv.Itoa(i)
	}
	if v.Const == nil {
		return fmt.Sprintf("%%undefined%d", v.ID)
	}
	name := p.define(v)
	p.printf("%s = const %s %v%v %s\n", name, strconv.Quote(v.Name), v.DType, v.Shape, v.Const.text())
	return name
}

func (p *printer) node(n *Node) {
	refs := make([]string, len(n.In))
	for i, v := range n.In {
		refs[i] = p.ref(v)
	}
	outs, types := make([]string, len(n.Out)), make([]string, len(n.Out))
	for i, v := range n.Out {
		outs[i] = p.define(v)
		types[i] = v.DType.String() + v.Shape.String()
	}
	p.printf("%s = %s(%s)", strings.Join(outs, ","), n.Op, strings.Join(refs, ","))
	for _, a := range specs[n.Op].attrs {
		if v, ok := n.Attrs[a.name]; ok && a.kind != kindGraph {
			fmt.Fprintf(p.b, " %s=%s", a.name, a.kind.format(v))
		}
	}
	fmt.Fprintf(p.b, " %s\n", strings.Join(types, ","))
	for _, a := range specs[n.Op].attrs {
		if sub := n.Attrs.Graph(a.name); sub != nil {
			block := printer{b: p.b, indent: p.indent + "  "}
			block.graph(sub, a.name)
			block.printf("end\n")
		}
	}
}

// text is the data of a short tensor, or the digest of a longer one.
func (t *Tensor) text() string {
	if t.Len() > maxInlineElements {
		return "sha256:" + t.Digest()[:16]
	}
	items := make([]string, t.Len())
	for i := range items {
		switch {
		case t.DType == Float64:
			items[i] = formatFloat(t.F64[i], 64)
		case t.DType.IsFloat():
			items[i] = formatFloat(float64(t.F32[i]), 32)
		case t.DType == Bool:
			items[i] = strconv.FormatBool(t.I64[i] != 0)
		default:
			items[i] = strconv.FormatInt(t.I64[i], 10)
		}
	}
	return "{" + strings.Join(items, ",") + "}"
}

// Digest returns the SHA-256, in hexadecimal, of the tensor's type name, its
// shape as the text form has it, and its elements: little endian, 4 bytes
// each for f32, f16 and bf16, 8 bytes for the others.
func (t *Tensor) Digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%v%v", t.DType, t.Shape)
	switch {
	case t.F32 != nil:
		writeAll(h, len(t.F32), func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(t.F32[i]))
		})
	case t.F64 != nil:
		writeAll(h, len(t.F64), func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint64(b, math.Float64bits(t.F64[i]))
		})
	default:
		writeAll(h, len(t.I64), func(b []byte, i int) []byte {
			return binary.LittleEndian.AppendUint64(b, uint64(t.I64[i]))
		})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writeAll hashes n elements in pieces of some kilobytes.
func writeAll(h hash.Hash, n int, put func(b []byte, i int) []byte) {
	buf := make([]byte, 0, 8192)
	for i := range n {
		if buf = put(buf, i); len(buf)+8 > cap(buf) {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
}
