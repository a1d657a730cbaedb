package pickle

import (
	"errors"
	"fmt"
)

// errCycle refuses a value that contains itself: nothing that a policy needs
// does, and every reader of the result may then walk it without care.
var errCycle = errors.New("a value contains itself")

// extent is how deep a value nests and how many values it holds, with shared
// ones counted each time they are reached. busy marks a value whose walk has
// not ended.
type extent struct {
	depth, nodes int
	busy         bool
}

// checker walks the result once and remembers the extent of each container.
type checker struct {
	l    Limits
	seen map[any]extent
}

// check refuses cycles, and results that are too deep or, once their sharing
// is unfolded, too large.
func check(v Value, l Limits) error {
	c := checker{l: l, seen: make(map[any]extent)}
	_, err := c.walk(v, 0)
	return err
}

// walk returns the extent of v, which is reached at a depth.
func (c *checker) walk(v Value, depth int) (extent, error) {
	id := identity(v)
	if id == nil {
		return extent{nodes: 1}, nil
	}
	if e, ok := c.seen[id]; ok {
		if e.busy {
			return e, errCycle
		}
		return e, c.within(e, depth)
	}
	if depth >= c.l.MaxDepth {
		return extent{}, c.tooDeep()
	}
	c.seen[id] = extent{busy: true}
	e := extent{nodes: 1}
	err := eachChild(v, func(child Value) error {
		ce, err := c.walk(child, depth+1)
		if err != nil {
			return err
		}
		e.depth = max(e.depth, ce.depth+1)
		e.nodes += ce.nodes // both stay below 2*MaxNodes: no overflow
		return c.within(e, depth)
	})
	c.seen[id] = e
	return e, err
}

// within refuses an extent that, reached at a depth, is beyond the limits.
func (c *checker) within(e extent, depth int) error {
	if depth+e.depth > c.l.MaxDepth {
		return c.tooDeep()
	}
	if e.nodes > c.l.MaxNodes {
		return fmt.Errorf("%w: more than %d values once shared ones are unfolded", ErrLimit, c.l.MaxNodes)
	}
	return nil
}

func (c *checker) tooDeep() error {
	return fmt.Errorf("%w: nested deeper than %d levels", ErrLimit, c.l.MaxDepth)
}

// identity returns what tells a container from another one, nil for values
// without children.
func identity(v Value) any {
	switch v := v.(type) {
	case Tuple:
		if len(v) > 0 {
			return &v[0]
		}
	case *List:
		if len(v.Items) > 0 {
			return v
		}
	case *Dict:
		if len(v.Entries) > 0 || v.State != nil {
			return v
		}
	case *Set:
		if len(v.Items) > 0 {
			return v
		}
	case *Object:
		return v
	}
	return nil
}

// eachChild calls f for the children of a container.
func eachChild(v Value, f func(Value) error) error {
	all := func(items []Value) error {
		for _, item := range items {
			if err := f(item); err != nil {
				return err
			}
		}
		return nil
	}
	switch v := v.(type) {
	case *Set:
		return all(v.Items)
	case *Dict:
		for i := range v.Entries {
			if err := all([]Value{v.Entries[i].Key, v.Entries[i].Value}); err != nil {
				return err
			}
		}
		return f(v.State)
	case *Object:
		if v.Kwargs != nil {
			if err := f(v.Kwargs); err != nil {
				return err
			}
		}
		if v.Dict != nil {
			if err := f(v.Dict); err != nil {
				return err
			}
		}
		if err := all([]Value{v.Args, v.State}); err != nil {
			return err
		}
		return all(v.Items)
	}
	items, _ := Items(v)
	return all(items)
}
