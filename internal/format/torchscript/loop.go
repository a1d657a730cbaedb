package torchscript

import (
	"math"
	"slices"
	"strconv"

	"github.com/carla-rl/carla-rl-serving/internal/graph"
)

// maxRounds bounds the attempts to find out what a loop carries.
const maxRounds = 24

// rangeOf is a range whose length depends on the data.
type rangeOf struct{ start, end, step value }

func outputName(i int) string { return "o" + strconv.Itoa(i) }

// renameInputs gives the inputs of an inner graph names of their own.
func renameInputs(g *graph.Graph) {
	for i, v := range g.Inputs {
		v.Name = "i" + strconv.Itoa(i)
	}
}

// loop makes the node of a loop that the data ends. The body is run once in a
// graph of its own, with everything that it changes taken from its inputs.
// What it changes is found out by running it.
func (in *interp) loop(fr *frame, first *graph.Value, cond func() (bool, *graph.Value), body func() signal) {
	forms := map[any]*form{}
	var carried []any
	for range maxRounds {
		var inputs, next []*graph.Value
		p := in.try(true, func(p *path) {
			inputs, next = nil, nil
			for _, c := range carried {
				var vs []*graph.Value
				for _, l := range forms[c].leaves("") {
					v := in.here(in.g.Input("x"+strconv.Itoa(len(inputs)), l.dtype, l.shape))
					vs, inputs = append(vs, v), append(inputs, v)
				}
				v, _ := in.raised(forms[c], vs)
				in.setCell(c, v)
			}
			if p.sig = body(); p.sig == sigReturn || p.sig == sigBreak {
				in.unsupported("a return or break under a condition on the data")
			}
			known, data := cond()
			if data == nil {
				data, _ = in.numberValue(known)
			}
			next = []*graph.Value{in.use(data)}
		})
		if p.raised { // as soon as it runs
			in.raiseWhen(first)
			return
		}
		cells, stable := in.carriedBy(fr, p, forms, &carried)
		if !stable {
			continue
		}
		in.closeLoop(first, p, cells, forms, inputs, next)
		return
	}
	in.unsupported("a loop on data in which values keep changing their form")
}

// carriedBy brings the forms of what a loop carries up to date with what its
// body did, and reports whether they already were.
func (in *interp) carriedBy(fr *frame, p *path, forms map[any]*form, carried *[]any) ([]any, bool) {
	stable := true
	for _, c := range in.lasting(fr, p.cells) {
		if _, none := p.olds[c].(gone); none {
			if a, isAttr := c.(attrCell); !isAttr || !stored(a.o, a.name) {
				continue // begins within the body
			}
		}
		old, there := forms[c]
		if !there {
			old = formOf(in.content(c))
		}
		f := join(old, formOf(p.snaps[c]))
		if f.kind == formPoison {
			if _, isVar := c.(varCell); !isVar {
				in.unsupported("a loop on data with %s", f.why)
			}
		}
		if !there {
			*carried = append(*carried, c)
		}
		if !there || !old.equal(f) {
			stable = false
		}
		forms[c] = f
	}
	return *carried, stable
}

func (in *interp) closeLoop(first *graph.Value, p *path, cells []any, forms map[any]*form, inputs, next []*graph.Value) {
	var init []*graph.Value
	for _, c := range cells {
		f := forms[c]
		init = append(init, in.lowered(f, in.content(c))...)
		s, touched := p.snaps[c]
		if !touched {
			s = in.content(c)
		}
		back := in.enter(p.sc)
		next = append(next, in.lowered(f, s)...)
		back()
	}
	g := p.sc.g
	g.Inputs = slices.Clone(inputs)
	for _, o := range p.sc.captured {
		g.Inputs = append(g.Inputs, p.sc.own[o])
	}
	renameInputs(g)
	for i, v := range next {
		g.Output(outputName(i), v)
	}
	operands := append(append([]*graph.Value{first}, init...), p.sc.captured...)
	results := in.addNode(graph.OpLoop, graph.Attrs{"body": g, "carried": len(init)}, operands...).Out
	for _, c := range cells {
		var v value
		v, results = in.raised(forms[c], results)
		in.setCell(c, v)
	}
}

// whileLoop goes on as long as the condition is known, and leaves the rest to
// the data.
func (in *interp) whileLoop(fr *frame, s *whileStmt) signal {
	check := func() (bool, *graph.Value) { return in.cond(in.eval(fr, s.cond), s.pos, "while") }
	for {
		known, data := check()
		if data != nil {
			in.loop(fr, data, check, func() signal { return in.block(fr, s.body) })
			return sigNext
		}
		if !known {
			return sigNext
		}
		in.step(s.pos)
		if sig := in.block(fr, s.body); sig == sigReturn {
			return sig
		} else if sig == sigBreak {
			return sigNext
		}
	}
}

// rangeLoop is a loop over a range whose length depends on the data.
func (in *interp) rangeLoop(fr *frame, s *forStmt, r *rangeOf) signal {
	counter := "for " + s.pos.String()
	step, ok := r.step.(int64)
	if !ok || step == 0 || step == math.MinInt64 {
		in.unsupported("a range with a step that depends on data")
	}
	op := "lt"
	if step < 0 {
		op = "gt"
	}
	in.setVar(fr, counter, r.start)
	check := func() (bool, *graph.Value) {
		return in.cond(in.builtin("torch."+op, []value{fr.vars[counter], r.end}, nil), s.pos, "for")
	}
	known, data := check()
	if data == nil {
		if !known {
			return sigNext
		}
		data, _ = in.numberValue(known)
	}
	in.loop(fr, data, check, func() signal {
		i := fr.vars[counter]
		if s.unpack {
			in.errorf("a number is unpacked")
		}
		in.store(fr, s.targets[0], i)
		sig := in.block(fr, s.body)
		in.setVar(fr, counter, in.builtin("torch.add", []value{fr.vars[counter], step}, nil))
		return sig
	})
	in.touch(varCell{fr, counter})
	delete(fr.vars, counter)
	return sigNext
}
