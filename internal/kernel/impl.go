package kernel

// Impl is an implementation of the kernels. The zero Impl is the Go twins.
// It is a value and not a switch of the package, so that a plan and its twin
// can run side by side.
type Impl struct{ vector bool }

// Best returns the fastest implementation that this CPU can run.
func Best() Impl { return Impl{vector: hasVector} }

// Impls returns every implementation that this CPU can run, the Go twins
// first.
func Impls() []Impl {
	if hasVector {
		return []Impl{{}, {vector: true}}
	}
	return []Impl{{}}
}

// String returns "go", "avx2" or "neon".
func (k Impl) String() string {
	if k.vector {
		return vectorName
	}
	return "go"
}
