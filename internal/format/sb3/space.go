package sb3

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// The maxima of a space.
const (
	maxSpaceElements = 1 << 22 // values of a Box: a color image of 1080 lines has more, one of 720 less
	maxSpaceRank     = 6
	maxCategories    = 1 << 20
	maxSpaces        = 256
)

// SpaceKind is a kind of space.
type SpaceKind string

// The spaces that Stable-Baselines3 has policies for.
const (
	Box           SpaceKind = "Box"
	Discrete      SpaceKind = "Discrete"
	MultiDiscrete SpaceKind = "MultiDiscrete"
	MultiBinary   SpaceKind = "MultiBinary"
	Dict          SpaceKind = "Dict"
)

// Space is an observation or action space of gym or gymnasium.
type Space struct {
	Kind  SpaceKind
	DType string // as numpy names it, "<f4" or "float32"; may be empty
	Shape []int  // of a Box and a MultiBinary; [n] of a MultiDiscrete
	// Low and High bound each value of a Box, in row-major order.
	Low, High []float32
	// N is the number of categories: one of a Discrete, each of a MultiDiscrete.
	N     []int
	Start int // of a Discrete; the library's predict does not add it

	Keys   []string // of a Dict, in the order of the file
	Spaces []*Space // in the order of Keys
}

// spaceGlobals are the names that pickled spaces have: the classes of spaces,
// arrays, and the random states that spaces carry along.
var spaceGlobals = func() pickle.AllowList {
	l := pickle.NewAllowList(pickle.NumpyGlobals()...)
	for _, lib := range []string{"gym", "gymnasium"} {
		for _, c := range []string{"box.Box", "discrete.Discrete", "multi_discrete.MultiDiscrete", "multi_binary.MultiBinary", "dict.Dict"} {
			l.Add(lib + ".spaces." + c)
		}
		l.Add(lib + ".utils.seeding.RandomNumberGenerator")
	}
	l.Add(pickle.NumpyRandomGlobals()...)
	l.Add(
		"collections.OrderedDict",
		"copyreg._reconstructor",
		"builtins.object",
		"numpy.float16", "numpy.float32", "numpy.float64",
		"numpy.int8", "numpy.int16", "numpy.int32", "numpy.int64", "numpy.uint8", "numpy.bool_", "numpy.bool",
	)
	return l
}()

// readSpace reads a pickled space.
func readSpace(v pickle.Value, depth int) (*Space, error) {
	o, ok := v.(*pickle.Object)
	if !ok {
		return nil, fmt.Errorf("a %s, a space was wanted", pickle.TypeName(v))
	}
	if !strings.HasPrefix(o.Class.Module, "gym") {
		return nil, fmt.Errorf("%w: a space of class %s", ErrUnsupported, o.Class)
	}
	s := &Space{Kind: SpaceKind(o.Class.Name)}
	var err error
	switch s.Kind {
	case Box:
		err = s.readBox(o)
	case Discrete:
		err = s.readDiscrete(o)
	case MultiDiscrete:
		err = s.readMultiDiscrete(o)
	case MultiBinary:
		err = s.readMultiBinary(o)
	case Dict:
		if depth > 0 {
			return nil, fmt.Errorf("%w: a Dict space within a Dict space", ErrUnsupported)
		}
		err = s.readDict(o)
	default:
		return nil, fmt.Errorf("%w: a space of class %s", ErrUnsupported, o.Class)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Kind, err)
	}
	return s, nil
}

func (s *Space) readBox(o *pickle.Object) error {
	v, ok := o.Attr("_shape")
	if !ok {
		v, _ = o.Attr("shape") // gym before 0.19
	}
	var err error
	if s.Shape, err = dims(v); err != nil {
		return err
	}
	n := product(s.Shape)
	if n < 1 || n > maxSpaceElements {
		return fmt.Errorf("%w: shape %v has %d values, 1 to %d are read", pickle.ErrLimit, s.Shape, n, maxSpaceElements)
	}
	if s.Low, err = bounds(o, "low", s.Shape); err != nil {
		return err
	}
	if s.High, err = bounds(o, "high", s.Shape); err != nil {
		return err
	}
	for i, low := range s.Low {
		if !(low <= s.High[i]) {
			return fmt.Errorf("value %d has the bounds %v and %v", i, low, s.High[i])
		}
	}
	dtype, _ := o.Attr("dtype")
	s.DType = dtypeName(dtype)
	return nil
}

// bounds reads an array of a given shape as float32.
func bounds(o *pickle.Object, name string, shape []int) ([]float32, error) {
	v, _ := o.Attr(name)
	if n := payload(v); n > 8*product(shape) { // before it is widened
		return nil, fmt.Errorf("%s has %d bytes, the space has the shape %v", name, n, shape)
	}
	a, err := pickle.NumpyArray(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if product(a.Shape) != product(shape) || len(a.Values) != product(shape) {
		return nil, fmt.Errorf("%s has the shape %v, the space has %v", name, a.Shape, shape)
	}
	out := make([]float32, len(a.Values))
	for i, x := range a.Values {
		out[i] = float32(x)
	}
	return out, nil
}

// payload is the number of bytes of an array: the last part of its state, or the
// first argument of the form that has none.
func payload(v pickle.Value) int {
	o, ok := v.(*pickle.Object)
	if !ok {
		return 0
	}
	most := 0
	state, _ := o.State.(pickle.Tuple)
	for _, part := range slices.Concat(state, o.Args) {
		b, _ := part.([]byte)
		most = max(most, len(b))
	}
	return most
}

// dtypeName returns the short name of a numpy type, without the byte order.
func dtypeName(v pickle.Value) string {
	var text string
	switch v := v.(type) {
	case pickle.Global:
		return v.Name
	case *pickle.Object:
		if len(v.Args) > 0 {
			text, _ = v.Args[0].(string)
		}
	case string:
		text = v
	}
	names := map[string]string{"f2": "float16", "f4": "float32", "f8": "float64", "u1": "uint8", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "b1": "bool"}
	text = strings.TrimLeft(text, "<>|=")
	if name, ok := names[text]; ok {
		return name
	}
	return printable([]byte(text), 16)
}

func (s *Space) readDiscrete(o *pickle.Object) error {
	n, err := count(o, "n")
	if err != nil {
		return err
	}
	s.N = []int{n}
	if v, ok := o.Attr("start"); ok {
		start, ok := pickle.Number(v)
		if !ok || start != math.Trunc(start) || math.Abs(start) > maxCategories {
			return fmt.Errorf("start is a %s, an integer of at most %d was wanted", pickle.TypeName(v), maxCategories)
		}
		s.Start = int(start)
	}
	return nil
}

// count reads a number of categories.
func count(o *pickle.Object, name string) (int, error) {
	v, _ := o.Attr(name)
	n, ok := pickle.Number(v)
	if !ok || n != math.Trunc(n) || n < 1 || n > maxCategories {
		return 0, fmt.Errorf("%s is no integer of 1 to %d", name, maxCategories)
	}
	return int(n), nil
}

func (s *Space) readMultiDiscrete(o *pickle.Object) error {
	v, _ := o.Attr("nvec")
	a, err := pickle.NumpyArray(v)
	if err != nil {
		return fmt.Errorf("nvec: %w", err)
	}
	if len(a.Shape) != 1 {
		return fmt.Errorf("%w: nvec has the shape %v; Stable-Baselines3 takes one dimension", ErrUnsupported, a.Shape)
	}
	sum := 0
	for _, x := range a.Values {
		if x != math.Trunc(x) || x < 1 || x > maxCategories {
			return fmt.Errorf("nvec holds %v, integers of 1 to %d were wanted", x, maxCategories)
		}
		if sum += int(x); sum > maxCategories || len(s.N) == maxSpaces {
			return fmt.Errorf("%w: %d categories in %d parts", pickle.ErrLimit, sum, len(a.Values))
		}
		s.N = append(s.N, int(x))
	}
	if len(s.N) == 0 {
		return errors.New("nvec is empty")
	}
	s.Shape = []int{len(s.N)}
	return nil
}

func (s *Space) readMultiBinary(o *pickle.Object) error {
	v, _ := o.Attr("n")
	if n, ok := pickle.Number(v); ok {
		if n != math.Trunc(n) || n < 1 || n > maxCategories {
			return fmt.Errorf("n is %v, an integer of 1 to %d was wanted", n, maxCategories)
		}
		s.Shape = []int{int(n)}
		return nil
	}
	if shape, ok := o.Attr("_shape"); ok {
		v = shape
	} else if shape, ok := o.Attr("shape"); ok {
		v = shape
	}
	var err error
	if s.Shape, err = dims(v); err != nil {
		return err
	}
	if n := product(s.Shape); len(s.Shape) == 0 || n < 1 || n > maxCategories {
		return fmt.Errorf("shape %v", s.Shape)
	}
	return nil
}

func (s *Space) readDict(o *pickle.Object) error {
	v, _ := o.Attr("spaces")
	d, ok := v.(*pickle.Dict)
	if !ok {
		return fmt.Errorf("spaces is a %s, a dict was wanted", pickle.TypeName(v))
	}
	if d.Len() == 0 || d.Len() > maxSpaces {
		return fmt.Errorf("%w: %d spaces, 1 to %d are read", pickle.ErrLimit, d.Len(), maxSpaces)
	}
	for _, e := range d.Entries {
		key, ok := e.Key.(string)
		if !ok || key == "" || len(key) > maxKeyBytes {
			return fmt.Errorf("a key that is a %s, a short text was wanted", pickle.TypeName(e.Key))
		}
		sub, err := readSpace(e.Value, 1)
		if err != nil {
			return fmt.Errorf("%.80q: %w", key, err)
		}
		s.Keys, s.Spaces = append(s.Keys, key), append(s.Spaces, sub)
	}
	return nil
}

// Image reports whether a space is one of images as the library sees them:
// three dimensions of bytes from 0 to 255.
func (s *Space) Image() bool {
	if s.Kind != Box || len(s.Shape) != 3 || s.DType != "uint8" {
		return false
	}
	for i := range s.Low {
		if s.Low[i] != 0 || s.High[i] != 255 {
			return false
		}
	}
	return true
}

// Width is the number of values of an observation after the library's
// preprocessing: a one-hot row for each part of a discrete space.
func (s *Space) Width() int {
	switch s.Kind {
	case Discrete, MultiDiscrete:
		n := 0
		for _, k := range s.N {
			n += k
		}
		return n
	case Dict:
		n := 0
		for _, sub := range s.Spaces {
			n += sub.Width()
		}
		return n
	}
	return product(s.Shape)
}

// String prints a space as gymnasium does, with the least and greatest bound.
func (s *Space) String() string {
	switch s.Kind {
	case Box:
		low, high := s.Low[0], s.High[0]
		for i := range s.Low {
			low, high = min(low, s.Low[i]), max(high, s.High[i])
		}
		return fmt.Sprintf("Box(%v, %v, %v, %s)", low, high, s.Shape, s.DType)
	case Discrete:
		if s.Start != 0 {
			return fmt.Sprintf("Discrete(%d, start=%d)", s.N[0], s.Start)
		}
		return fmt.Sprintf("Discrete(%d)", s.N[0])
	case MultiDiscrete:
		return fmt.Sprintf("MultiDiscrete(%v)", s.N)
	case Dict:
		parts := make([]string, len(s.Keys))
		for i, k := range s.Keys {
			parts[i] = fmt.Sprintf("%s: %s", k, s.Spaces[i])
		}
		return "Dict(" + strings.Join(parts, ", ") + ")"
	}
	return fmt.Sprintf("MultiBinary(%v)", s.Shape)
}

// dims reads a shape.
func dims(v pickle.Value) ([]int, error) {
	items, ok := pickle.Items(v)
	if !ok || len(items) > maxSpaceRank {
		return nil, fmt.Errorf("shape is a %s, a tuple of at most %d sizes was wanted", pickle.TypeName(v), maxSpaceRank)
	}
	out := make([]int, len(items))
	for i, item := range items {
		n, ok := pickle.Number(item)
		if !ok || n != math.Trunc(n) || n < 1 || n > maxSpaceElements {
			return nil, fmt.Errorf("shape: size %d is no integer of 1 to %d", i, maxSpaceElements)
		}
		out[i] = int(n)
		if product(out[:i+1]) > maxSpaceElements {
			return nil, fmt.Errorf("%w: shape %v", pickle.ErrLimit, out[:i+1])
		}
	}
	return out, nil
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
