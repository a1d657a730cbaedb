package graph

import "fmt"

// pass is one rewriting of a graph. It reports whether it changed anything.
type pass struct {
	name string
	run  func(g *Graph) (bool, error)
}

// passes are run in this order, again and again until none changes anything.
// Each keeps what the graph computes: exactly, or where it says so to within
// 1e-6 of the scale of the result. Half precision is never touched where a
// rounding would move, so a policy trained in bf16 rounds where it did.
func passes() []pass {
	return []pass{
		{"fold constants", foldConstants},       // weights that a module computes of its parameters become plain weights
		{"drop no-ops", dropNoOps},              // reshapes, casts and expands that change nothing hide the patterns below
		{"merge clamps", mergeClamps},           // relu, minimum and clip after each other become one clamp
		{"fuse bias", fuseBias},                 // matmul by a constant and the sum after it become linear, which kernels know
		{"fuse affine", fuseAffine},             // a chain of constant sums and products becomes one product and one sum
		{"fold scale", foldScale},               // such a product and sum behind linear go into its weight and bias
		{"fold normalise", foldNormalise},       // and before linear too, where float32 does not suffer
		{"share common", shareCommon},           // what two heads compute alike is computed once
		{"simplify control", simplifyControl},   // what is decided already is chosen, and the graphs inside are optimized
		{"remove dead", removeDead},             // what no output needs goes, inputs stay
		{"fold constants again", foldConstants}, // what the passes above left constant
	}
}

// maxOptimizeRounds bounds the repetition. Real policies settle in two or
// three rounds; a graph that has not settled by then is right all the same.
const maxOptimizeRounds = 16

// Optimize rewrites the graph in place into fewer and cheaper nodes. Inputs
// and outputs keep their names, types, shapes and order, an input stays even
// where nothing uses it, random draws keep their streams, and states are what
// they were. The graph must
// verify, and verifies afterwards. After an error it must not be used.
func Optimize(g *Graph) error {
	for range maxOptimizeRounds {
		settled := true
		for _, p := range passes() {
			changed, err := p.run(g)
			if err != nil {
				return fmt.Errorf("graph: pass %q: %w", p.name, err)
			}
			settled = settled && !changed
		}
		if settled {
			break
		}
	}
	return g.Verify()
}
