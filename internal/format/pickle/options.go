package pickle

// Limits are the maxima of one decoding. A zero field means the default.
type Limits struct {
	MaxBytes int // of the input
	MaxOps   int // opcodes, and items copied by the few calls that are data
	MaxMemo  int // memo entries
	MaxDepth int // nested levels of the result
	MaxNodes int // values in the result, a shared one counted each time it is reached
}

// The default maxima. The largest pickle among real policies has 20,000
// opcodes, 7,000 memo entries and 30 levels; at these maxima the machine stays
// below 64 MiB.
const (
	DefaultMaxBytes = 64 << 20
	DefaultMaxOps   = 250_000
	DefaultMaxMemo  = 125_000
	DefaultMaxDepth = 200
	DefaultMaxNodes = 1_000_000
)

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxBytes, DefaultMaxBytes)
	def(&l.MaxOps, DefaultMaxOps)
	def(&l.MaxMemo, DefaultMaxMemo)
	def(&l.MaxDepth, DefaultMaxDepth)
	def(&l.MaxNodes, DefaultMaxNodes)
	return l
}

// Options say what one decoding may meet.
//
// Construct, Built and Persistent see values before the result is checked: what they
// are given may be deep, hold itself or share parts without end, so that they
// must look only at the parts they need and never walk it.
type Options struct {
	// Allow says whether a global may be named. Without it every global is
	// refused.
	Allow func(Global) bool
	// Construct is asked what a call of an allowed global is, before an Object
	// is made of it. It returns false to leave the call as an Object.
	Construct func(class Global, args Tuple) (Value, bool, error)
	// Built is shown an object that BUILD has just given its state, and the
	// input after that opcode. It may change the object, and returns the number
	// of bytes that it took: how a container puts raw data between opcodes.
	Built func(o *Object, rest []byte) (int, error)
	// BareArgument lets a call have one argument in place of a tuple: so
	// TorchScript writes the members of an enumeration.
	BareArgument bool
	// Persistent is asked for the value of a persistent id. Without it
	// persistent ids are refused.
	Persistent func(id Value) (Value, error)

	Limits Limits
}

// AllowList is an exact set of globals.
type AllowList map[Global]struct{}

// NewAllowList returns the set of the given `module.name`s. The name is what
// follows the last dot.
func NewAllowList(names ...string) AllowList {
	l := make(AllowList, len(names))
	l.Add(names...)
	return l
}

// Add adds `module.name`s to the set.
func (l AllowList) Add(names ...string) {
	for _, full := range names {
		for i := len(full) - 1; i >= 0; i-- {
			if full[i] == '.' {
				l[Global{Module: full[:i], Name: full[i+1:]}] = struct{}{}
				break
			}
		}
	}
}

// Allows reports whether a global is in the set.
func (l AllowList) Allows(g Global) bool {
	_, ok := l[g]
	return ok
}
