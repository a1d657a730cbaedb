package pickle_test

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// show writes a value as text, so that a test can say what it wants.
func show(v pickle.Value) string {
	list := func(open, end string, items []pickle.Value) string {
		parts := make([]string, len(items))
		for i, item := range items {
			parts[i] = show(item)
		}
		return open + strings.Join(parts, " ") + end
	}
	switch v := v.(type) {
	case pickle.None:
		return "None"
	case bool, int64, float64:
		return fmt.Sprint(v)
	case *big.Int:
		return v.String()
	case string:
		return fmt.Sprintf("%q", v)
	case []byte:
		return fmt.Sprintf("b%q", v)
	case pickle.Tuple:
		return list("(", ")", v)
	case *pickle.List:
		return list("[", "]", v.Items)
	case *pickle.Set:
		if v.Frozen {
			return list("frozen{", "}", v.Items)
		}
		return list("set{", "}", v.Items)
	case *pickle.Dict:
		var parts []string
		for _, e := range v.Entries {
			parts = append(parts, show(e.Key)+":"+show(e.Value))
		}
		text := "{" + strings.Join(parts, " ") + "}"
		if v.Class != (pickle.Global{}) {
			text = v.Class.String() + text
		}
		if v.State != nil {
			text += "+" + show(v.State)
		}
		return text
	case pickle.Global:
		return "<" + v.String() + ">"
	case *pickle.Object:
		text := v.Class.String() + show(v.Args)
		if v.Kwargs != nil {
			text += "**" + show(v.Kwargs)
		}
		if v.State != nil {
			text += "+" + show(v.State)
		}
		if v.Items != nil {
			text += list("[", "]", v.Items)
		}
		if v.Dict != nil {
			text += show(v.Dict)
		}
		return text
	}
	return fmt.Sprintf("%T(%v)", v, v)
}

// allowed are the globals of the tests.
var allowed = pickle.NewAllowList(append(pickle.NumpyGlobals(),
	"collections.OrderedDict", "copyreg._reconstructor",
	"builtins.object", "builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple",
	"builtins.bytes", "builtins.bytearray",
	"car.Wheel", "car.Wheels", "car.make",
)...)

// options of the tests: a call of car.make is a text, and so is what a
// persistent id stands for. Neither walks what it is given, which may be
// anything at that time.
var options = pickle.Options{
	Allow: allowed.Allows,
	Construct: func(class pickle.Global, args pickle.Tuple) (pickle.Value, bool, error) {
		if class.Name != "make" {
			return nil, false, nil
		}
		if len(args) == 0 {
			return nil, false, fmt.Errorf("nothing to make")
		}
		return "made of " + pickle.TypeName(args[0]), true, nil
	},
	Persistent: func(id pickle.Value) (pickle.Value, error) {
		if id == "bad" {
			return nil, fmt.Errorf("no such thing")
		}
		return "id of " + pickle.TypeName(id), nil
	},
}
