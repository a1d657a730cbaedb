package graph

// The maxima of a graph. They bound what a file of a few kilobytes can make
// the loader allocate; the largest policies seen in practice stay a hundred
// times below them. Passing one is an error that wraps ErrLimit.
const (
	// MaxNodes is the greatest number of nodes.
	MaxNodes = 1 << 16
	// MaxOperands is the greatest number of operands of one node.
	MaxOperands = 4096
	// MaxRank is the greatest number of dimensions of a value.
	MaxRank = 8
	// MaxRowElements is the greatest number of elements of one value in a run
	// of a single row, and of a constant: 2^28, one gibibyte of float32.
	MaxRowElements = 1 << 28
	// MaxConstantBytes is the greatest size of all constants together, in
	// bytes of their own element types.
	MaxConstantBytes = 4 << 30
	// MaxPorts is the greatest number of inputs, and of outputs.
	MaxPorts = 1024
	// MaxEvaluateElements is the greatest number of elements of one value in
	// a call of Evaluate, over all rows: 2^28.
	MaxEvaluateElements = 1 << 28
	// MaxDepth is the greatest number of graphs inside each other.
	MaxDepth = 16
	// DefaultLoopLimit is the greatest number of times that the body of a loop
	// runs where the node does not say it.
	DefaultLoopLimit = 1_000_000
	// StepBudget bounds what all loops of a run do together, in the units of
	// Graph.Cost: tens of milliseconds of a plan, about a second of Evaluate. A
	// policy whose loops never end is run a few times before it is refused, all
	// of which is to be over in a second.
	StepBudget = 1 << 20
	// MaxTextBytes is the greatest length of a text that Parse takes.
	MaxTextBytes = 1 << 24
)
