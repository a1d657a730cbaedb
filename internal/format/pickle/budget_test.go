package pickle_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// Files that are valid and as expensive as they can be stay within the time
// and the memory of one file.
func TestDecodeBudget(t *testing.T) {
	const n = pickle.DefaultMaxOps - 10
	f := func(name, in string) {
		t.Run(name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := pickle.Decode([]byte(in), options)
				return err
			})
		})
	}
	row := func(item string, ops int) string { return "(" + strings.Repeat(item, n/ops) + "t." }
	f("dicts", row("}", 1))
	f("lists", row("]", 1))
	f("texts", row("U\x01a", 1))
	f("floats", row("G\x3f\xf8\x00\x00\x00\x00\x00\x01", 1))
	f("big integers", row("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1))
	f("memo", row("]\x94", 2)[:2*100_000]+"t.")
	f("tuples", row("N\x85", 2))
	f("lists of one", row("]Na", 3))
	f("dicts of one", row("}NNs", 4))
	f("dicts of eight", row("}(NNK\x01NK\x02NK\x03NK\x04NK\x05NK\x06NK\x07Nu", 19))
	f("objects", "ccar\nWheel\nq\x000"+row("h\x00)\x81", 4))
	f("objects of one", "ccar\nWheel\nq\x000"+row("h\x00)\x81NNs", 7))
	f("set", "\x8f("+strings.Repeat("K\x01", n)+"\x90.")

	var dict strings.Builder
	for i := range n / 2 {
		dict.WriteString("J" + string(binary.LittleEndian.AppendUint32(nil, uint32(i))) + "N")
	}
	f("large dict", "}("+dict.String()+"u.")

	// Eight long keys, shared by many dicts.
	var keys, use strings.Builder
	for i := range 8 {
		text := strings.Repeat("k", 95) + string(rune('a'+i))
		keys.WriteString("B\x60\x00\x00\x00" + text + "q" + string(rune(i)) + "0")
		use.WriteString("h" + string(rune(i)) + "N")
	}
	f("shared keys", keys.String()+"("+strings.Repeat("}("+use.String()+"u", n/20)+"t.")
}
