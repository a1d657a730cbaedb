package torchscript_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/torchscript"
)

// oddArguments are what the code of a file may give to any function, sensible
// or not.
var oddArguments = []string{
	"x", "x", "torch.ones([3])", "torch.ones([4, 3])", "torch.ones([2, 3, 4, 4])", "torch.tensor(2)", "torch.tensor([0, 2])", "torch.gt(x, 0)",
	"torch.zeros([0])", "torch.unsqueeze(x, 1)", "ops.prim.NumToTensor(torch.size(x, 0))", "torch.size(x)", "torch.size(x, 0)",
	"0", "1", "2", "3", "-1", "-2", "7", "9223372036854775807", "-9223372036854775808", "1.5", "-0.5", "inf", "nan",
	"None", "True", "False", "\"none\"", "\"\"", "[]", "[0]", "[1, 2]", "[-1, 3]", "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "[x, x]", "(x, 1)", "{}", "{\"a\": x}",
	"self", "uninitialized(Tensor)", "torch.device(\"cpu\")", "torch.relu",
}

// TestBuiltinsOddArguments calls every function with arguments that nobody
// would give: each call is an error, or makes a graph that verifies.
func TestBuiltinsOddArguments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range torchscript.BuiltinNames() {
		for range 60 {
			args := make([]string, r.IntN(7))
			for i := range args {
				args[i] = oddArguments[r.IntN(len(oddArguments))]
			}
			if r.IntN(3) > 0 && len(args) > 0 {
				args[0] = "x"
			}
			call := "torch." + name + "(" + strings.Join(args, ", ") + ")"
			start := time.Now()
			_, err := lower(t, forward("return "+call), objectPickle)
			if errors.Is(err, torchscript.ErrInternal) {
				t.Errorf("%s: %v", call, err)
			}
			if took := time.Since(start); took > slowdown*10*time.Second {
				t.Errorf("%s took %v", call, took)
			}
		}
	}
}
