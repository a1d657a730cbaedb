package kernel

// Impl is an implementation of the kernels. The zero Impl is the Go twins.
// It is a value and not a switch of the package, so that a plan and its twin
// can run side by side.
type Impl struct {
	vector bool // AVX2 with FMA, or NEON
	wide   bool // AVX-512 where it has a kernel, and what vector says elsewhere
}

// Best returns the fastest implementation that this CPU can run.
func Best() Impl { return Impl{vector: hasVector, wide: hasWide} }

// Impls returns every implementation that this CPU can run, the Go twins
// first and the fastest last.
func Impls() []Impl {
	all := []Impl{{}}
	if hasVector {
		all = append(all, Impl{vector: true})
	}
	if hasWide {
		all = append(all, Impl{vector: true, wide: true})
	}
	return all
}

// ByName returns the implementation that String names, if this CPU can run
// it.
func ByName(name string) (Impl, bool) {
	for _, k := range Impls() {
		if k.String() == name {
			return k, true
		}
	}
	return Impl{}, false
}

// String returns "go", "avx2", "avx512" or "neon".
func (k Impl) String() string {
	switch {
	case k.wide:
		return "avx512"
	case k.vector:
		return vectorName
	default:
		return "go"
	}
}
