package config

import "fmt"

// Value is one setting as it is in force.
type Value struct {
	Key    string
	Value  string // secrets are printed as a stand-in
	Source Source
}

// Values returns every setting with its value and where it came from, in the
// order of the reference.
func (c *Config) Values() []Value {
	var out []Value
	for _, s := range c.settings() {
		out = append(out, Value{Key: s.key, Value: format(s.dst), Source: c.Source(s.key)})
	}
	return out
}

// String prints the source the way messages name it.
func (s Source) String() string {
	switch s.Kind {
	case "file":
		if s.Line > 0 {
			return fmt.Sprintf("%s:%d", s.Name, s.Line)
		}
		return s.Name
	case "environment":
		return "environment " + s.Name
	case "flag":
		return "command line " + s.Name
	}
	return s.Kind
}
