package torchscript

// If computes one of two sides, as a condition has it: a number, or a tensor
// of one element. Both sides give the same number of values, of the same types
// and shapes where the data decides; they are functions of Calls and may be
// called more than once. What the data decides lowers only for a fixed number
// of rows.
func (c *Calls) If(cond Value, then, alts func() []Value) []Value {
	known, data := c.in.cond(c.inside(cond), c.in.pos, "if")
	side := func(f func() []Value) func() value {
		return func() value { return &tuple{elems: c.insideAll(f())} }
	}
	v := c.in.either(&frame{vars: map[string]value{}}, known, data, side(then), side(alts))
	return c.outsideAll(v)
}

// Loop runs a body as long as a condition holds: first says whether it runs at
// all, and again, of the body, whether it runs once more. The body gets the
// carried values and gives those of the next turn. It may be called more often
// than the loop runs. What the data decides lowers only for a fixed number of
// rows, and then carried values keep their types and shapes.
func (c *Calls) Loop(first Value, carried []Value, body func(carried []Value) (again Value, next []Value)) []Value {
	const again, held = "again", "held"
	fr := &frame{vars: map[string]value{again: c.inside(first), held: &tuple{elems: c.insideAll(carried)}}}
	pos := c.in.pos
	w := &whileStmt{pos: pos, cond: &nameExpr{pos: pos, name: again}, body: []stmt{&hostStmt{pos: pos, run: func() {
		more, next := body(c.outsideAll(fr.vars[held]))
		if len(next) != len(carried) {
			c.in.errorf("a loop of %d values whose body gives %d", len(carried), len(next))
		}
		c.in.setVar(fr, again, c.inside(more))
		c.in.setVar(fr, held, &tuple{elems: c.insideAll(next)})
	}}}}
	c.in.whileLoop(fr, w)
	return c.outsideAll(fr.vars[held])
}

// hostStmt is a statement that is a function of this program.
type hostStmt struct {
	pos Position
	run func()
}

func (s *hostStmt) stmtPos() Position { return s.pos }

func (c *Calls) insideAll(vs []Value) []value {
	out := make([]value, len(vs))
	for i, v := range vs {
		out[i] = c.inside(v)
	}
	return out
}

// outsideAll are the elements of a tuple.
func (c *Calls) outsideAll(v value) []Value {
	t, ok := v.(*tuple)
	if !ok {
		c.in.unsupported("values that a condition on the data makes %s", why(v))
	}
	out := make([]Value, len(t.elems))
	for i, e := range t.elems {
		out[i] = c.outside(c.in.merged(e, "a value"))
	}
	return out
}
