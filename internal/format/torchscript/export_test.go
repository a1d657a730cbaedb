package torchscript

import "sort"

// ErrInternal is what a defect of the interpreter is reported as.
var ErrInternal = errInternal

// BuiltinNames returns the names of all built-in functions.
func BuiltinNames() []string {
	seen := map[string]bool{}
	for _, table := range []map[string]builtin{scalarBuiltins, tensorBuiltins} {
		for name := range table {
			seen[name] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
