package torchscript

import (
	"sort"
	"strconv"
	"strings"
)

// containerBuiltins are the functions on lists and dicts.
var containerBuiltins = map[string]builtin{
	"len":         {"a", containerLen},
	"append":      {"list item", listAppend},
	"insert":      {"list index item", listInsert},
	"extend":      {"list items", listExtend},
	"pop":         {"container key default", containerPop},
	"clear":       {"container", containerClear},
	"reverse":     {"list", listReverse},
	"sort":        {"list reverse", listSort},
	"sorted":      {"list", func(c *call) value { return sortList(c, &list{elems: append([]value(nil), c.elems(0)...)}, false) }},
	"list":        {"a", func(c *call) value { return &list{elems: append([]value(nil), c.in.elements(c.args[0], "a list")...)} }},
	"copy":        {"a", containerCopy},
	"slice":       {"list start end step", listSlice},
	"keys":        {"dict", func(c *call) value { return &list{elems: append([]value(nil), c.dict(0).keys...)} }},
	"values":      {"dict", dictValues},
	"items":       {"dict", dictItems},
	"get":         {"dict key default", dictGet},
	"update":      {"dict other", dictUpdate},
	"_set_item":   {"container key item", func(c *call) value { c.in.setItem(c.args[0], c.args[1], c.args[2]); return nil }},
	"__getitem__": {"container key", func(c *call) value { return c.in.item(c.args[0], c.args[1]) }},
	"enumerate":   {"list", listEnumerate},
	"zip":         {"a b", listZip},
	"index":       {"list item", listIndex},
	"count":       {"list item", listCount},
	"sum":         {"list", listSum},
}

// textBuiltins are the functions on strings, which only serve messages and
// the choice of a mode.
var textBuiltins = map[string]builtin{
	"format":        {"format a b c d e f g h", textFormat},
	"str":           {"a", func(c *call) value { return format(c.args[0]) }},
	"lower":         {"a", func(c *call) value { return strings.ToLower(c.str(0, "")) }},
	"upper":         {"a", func(c *call) value { return strings.ToUpper(c.str(0, "")) }},
	"strip":         {"a", func(c *call) value { return strings.TrimSpace(c.str(0, "")) }},
	"startswith":    {"a prefix", func(c *call) value { return strings.HasPrefix(c.str(0, ""), c.str(1, "")) }},
	"endswith":      {"a suffix", func(c *call) value { return strings.HasSuffix(c.str(0, ""), c.str(1, "")) }},
	"find":          {"a part start end", textFind},
	"replace":       {"a old new", textReplace},
	"join":          {"a list", textJoin},
	"print":         {"a b c d e f g h", func(*call) value { return nil }},
	"percentFormat": {"format a b c d e f g h", func(c *call) value { return c.str(0, "") }},
}

func indexOf(s, sub string) int { return strings.Index(s, sub) }

func (c *call) list(i int) *list {
	l, ok := c.args[i].(*list)
	if !ok {
		c.wrong(i, "a list")
	}
	return l
}

// mutableList returns a list that the code changes. One that belongs to the
// module keeps the change for the next call.
func (c *call) mutableList(i int) *list {
	l := c.list(i)
	c.in.touch(l)
	if l.owner != "" {
		c.in.change(l.key)
	}
	return l
}

func (c *call) dict(i int) *dict {
	d, ok := c.args[i].(*dict)
	if !ok {
		c.wrong(i, "a dict")
	}
	if d.inputs != "" {
		c.in.unsupported("going through a dict of inputs (%s), whose keys are not known", d.inputs)
	}
	return d
}

func (c *call) mutableDict(i int) *dict {
	d := c.dict(i)
	c.in.touch(d)
	if d.owner != "" {
		c.in.change(d.key)
	}
	return d
}

func containerLen(c *call) value {
	switch v := c.args[0].(type) {
	case string:
		return int64(len(v))
	case *dict:
		return int64(len(c.dict(0).keys))
	case *tensor:
		return c.in.sizeOf(v, 0)
	case *object:
		if m, ok := v.class.methods["__len__"]; ok {
			return c.in.call(&function{def: m, self: v}, nil, nil)
		}
	}
	return int64(len(c.in.elements(c.args[0], "len")))
}

func listAppend(c *call) value {
	l := c.mutableList(0)
	c.in.listLen(len(l.elems) + 1)
	l.elems = append(l.elems, c.args[1])
	return l
}

func listInsert(c *call) value {
	l, i := c.mutableList(0), c.int(1, 0)
	c.in.listLen(len(l.elems) + 1)
	if i < 0 {
		i += len(l.elems)
	}
	i = max(0, min(i, len(l.elems)))
	l.elems = append(l.elems[:i:i], append([]value{c.args[2]}, l.elems[i:]...)...)
	return nil
}

func listExtend(c *call) value {
	l, more := c.mutableList(0), c.elems(1)
	c.in.listLen(len(l.elems) + len(more))
	l.elems = append(l.elems, more...)
	return nil
}

func containerPop(c *call) value {
	if _, ok := c.args[0].(*dict); ok {
		d := c.mutableDict(0)
		k := c.in.key(c.args[1])
		v, there := d.vals[k]
		if !there {
			if _, none := c.args[2].(absent); none {
				c.in.errorf("pop: no key %s", format(k))
			}
			return c.args[2]
		}
		d.remove(k)
		return v
	}
	l, i := c.mutableList(0), c.int(1, -1)
	i = c.in.listIndex(l.elems, int64(i))
	v := l.elems[i]
	l.elems = append(l.elems[:i:i], l.elems[i+1:]...)
	return v
}

func containerClear(c *call) value {
	if _, ok := c.args[0].(*dict); ok {
		d := c.mutableDict(0)
		d.keys, d.vals = nil, map[value]value{}
		return nil
	}
	c.mutableList(0).elems = nil
	return nil
}

func listReverse(c *call) value {
	l := c.mutableList(0)
	for i, j := 0, len(l.elems)-1; i < j; i, j = i+1, j-1 {
		l.elems[i], l.elems[j] = l.elems[j], l.elems[i]
	}
	return nil
}

func listSort(c *call) value { return sortList(c, c.mutableList(0), c.bool(1, false)) }

func sortList(c *call, l *list, reverse bool) value {
	c.in.cost(16 * len(l.elems))
	sort.SliceStable(l.elems, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		return c.in.compare("lt", l.elems[i], l.elems[j])
	})
	return l
}

func containerCopy(c *call) value {
	if d, ok := c.args[0].(*dict); ok {
		out := newDict()
		for _, k := range c.dict(0).keys {
			out.set(k, d.vals[k])
		}
		return out
	}
	return &list{elems: append([]value(nil), c.list(0).elems...)}
}

func listSlice(c *call) value {
	if s, ok := c.args[0].(string); ok {
		lo, hi := sliceBounds(len(s), c.int0(1, 0), c.int0(2, 1<<40))
		return s[lo:max(lo, hi)]
	}
	elems := c.in.elements(c.args[0], "a slice")
	lo, hi := sliceBounds(len(elems), c.int0(1, 0), c.int0(2, 1<<40))
	step := c.int(3, 1)
	if step < 1 {
		c.in.errorf("slice with a step of %d", step)
	}
	var out []value
	for i := lo; i < hi; i += step {
		out = append(out, elems[i])
	}
	c.in.listLen(len(out))
	if _, ok := c.args[0].(*tuple); ok {
		return &tuple{elems: out}
	}
	return &list{elems: out}
}

// int0 returns an integer; def where it is left out or None.
func (c *call) int0(i, def int) int {
	if !c.has(i) {
		return def
	}
	return c.int(i, def)
}

// sliceBounds cuts start and end to a length, as Python does.
func sliceBounds(n, lo, hi int) (int, int) {
	if lo < 0 {
		lo += n
	}
	if hi < 0 {
		hi += n
	}
	return max(0, min(lo, n)), max(0, min(hi, n))
}

func dictValues(c *call) value {
	d, out := c.dict(0), &list{}
	for _, k := range d.keys {
		out.elems = append(out.elems, d.vals[k])
	}
	return out
}

func dictItems(c *call) value {
	d, out := c.dict(0), &list{}
	for _, k := range d.keys {
		out.elems = append(out.elems, &tuple{elems: []value{k, d.vals[k]}})
	}
	return out
}

func dictGet(c *call) value {
	d, ok := c.args[0].(*dict)
	if !ok {
		c.wrong(0, "a dict")
	}
	if v, ok := d.vals[c.in.key(c.args[1])]; ok {
		return v
	}
	if _, ok := c.args[2].(absent); ok {
		return nil
	}
	return c.args[2]
}

func dictUpdate(c *call) value {
	d, o := c.mutableDict(0), c.dict(1)
	for _, k := range o.keys {
		d.set(k, o.vals[k])
	}
	return nil
}

func listEnumerate(c *call) value {
	out := &list{}
	for i, e := range c.in.elements(c.args[0], "enumerate") {
		out.elems = append(out.elems, &tuple{elems: []value{int64(i), e}})
	}
	return out
}

func listZip(c *call) value {
	a, b, out := c.in.elements(c.args[0], "zip"), c.in.elements(c.args[1], "zip"), &list{}
	for i := range min(len(a), len(b)) {
		out.elems = append(out.elems, &tuple{elems: []value{a[i], b[i]}})
	}
	return out
}

func listIndex(c *call) value {
	for i, e := range c.list(0).elems {
		if c.in.equalValues(e, c.args[1], 0) {
			return int64(i)
		}
	}
	c.in.errorf("index: %s is not in the list", format(c.args[1]))
	return nil
}

func listCount(c *call) value {
	n := int64(0)
	for _, e := range c.list(0).elems {
		if c.in.equalValues(e, c.args[1], 0) {
			n++
		}
	}
	return n
}

func listSum(c *call) value {
	var sum value = int64(0)
	for _, e := range c.elems(0) {
		sum = c.in.arith("add", sum, e)
	}
	return sum
}

// textFormat is str.format with `{}` fields.
func textFormat(c *call) value {
	var b strings.Builder
	next, s := 1, c.str(0, "")
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			break
		}
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			break
		}
		field := s[i+1 : i+j]
		b.WriteString(s[:i])
		at := next
		if n, err := strconv.Atoi(field); err == nil && n >= 0 && n < len(c.args)-1 {
			at = n + 1
		} else {
			next++
		}
		if at < len(c.args) {
			b.WriteString(format(c.args[at]))
		}
		s = s[i+j+1:]
		if b.Len() > maxFormatBytes {
			return b.String()[:maxFormatBytes]
		}
	}
	return b.String() + s
}

func textReplace(c *call) value {
	s, from, to := c.str(0, ""), c.str(1, ""), c.str(2, "")
	if n := len(s) + strings.Count(s, from)*len(to); n > maxStringLen {
		c.in.limit("string of more than %d bytes", maxStringLen)
	}
	return strings.ReplaceAll(s, from, to)
}

// textFind is the position of a part between start and end, of which an end
// that is negative counts from behind the last byte.
func textFind(c *call) value {
	s := c.str(0, "")
	end := c.int(3, -1)
	if end < 0 {
		end += len(s) + 1
	}
	lo, hi := sliceBounds(len(s), c.int(2, 0), max(end, 0))
	if i := strings.Index(s[lo:max(lo, hi)], c.str(1, "")); i >= 0 {
		return int64(lo + i)
	}
	return int64(-1)
}

func textJoin(c *call) value {
	var parts []string
	n := 0
	for _, e := range c.elems(1) {
		s := format(e)
		if n += len(s) + len(c.str(0, "")); n > maxStringLen {
			c.in.limit("string of more than %d bytes", maxStringLen)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, c.str(0, ""))
}

// key checks that v may be the key of a dict.
func (in *interp) key(v value) value {
	if t, ok := v.(*tensor); ok {
		v = in.numberNeeded(t)
	}
	if _, data := v.(*scalar); data {
		in.unsupported("a key of a dict that depends on data")
	}
	switch v.(type) {
	case bool, int64, float64, string:
		return v
	}
	in.unsupported("a %s as the key of a dict", kindName(v))
	return nil
}

func (in *interp) listIndex(elems []value, i int64) int {
	n := int64(len(elems))
	if i < -n || i >= n {
		in.errorf("index %d of a list of %d", i, n)
	}
	if i < 0 {
		i += n
	}
	return int(i)
}

// item is x[i] for a Python container, or for a tensor.
func (in *interp) item(x, i value) value {
	switch x := x.(type) {
	case *dict:
		k := in.key(i)
		v, ok := x.vals[k]
		if !ok {
			name, isString := k.(string)
			if x.inputs == "" || !isString {
				in.errorf("no key %s in the dict", format(k))
			}
			v = in.input(name, nil)
			x.set(k, v)
		}
		return v
	case *tensor:
		if s, data := i.(*scalar); data {
			return in.selectBy(x, 0, s)
		}
		n, ok := i.(int64)
		if !ok {
			in.unsupported("a subscript of a tensor that is a %s", kindName(i))
		}
		return in.selectAt(x, 0, int(max(min(n, 1<<40), -1<<40)))
	case *object:
		if s, ok := i.(string); ok {
			return in.objectAttr(x, s)
		}
		if n, ok := i.(int64); ok && x.class.base == "Module" {
			children := in.children(x)
			return children[in.listIndex(children, n)]
		}
	case string:
		if n, ok := toInt(i); ok {
			elems := in.elements(x, "a subscript")
			return elems[in.listIndex(elems, n)]
		}
	}
	elems := in.elements(x, "a subscript")
	n, ok := toInt(i)
	if !ok {
		in.unsupported("a subscript that is a %s", kindName(i))
	}
	return elems[in.listIndex(elems, n)]
}

// setItem is x[i] = v.
func (in *interp) setItem(x, i, v value) {
	switch x := x.(type) {
	case *dict:
		in.touch(x)
		if x.owner != "" {
			in.change(x.key)
		}
		x.set(in.key(i), v)
		return
	case *list:
		n, ok := toInt(i)
		if !ok {
			in.unsupported("a subscript that is a %s", kindName(i))
		}
		in.touch(x)
		if x.owner != "" {
			in.change(x.key)
		}
		x.elems[in.listIndex(x.elems, n)] = v
		return
	}
	in.unsupported("setting an element of a %s", kindName(x))
}
