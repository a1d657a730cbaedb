package pickle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// Raw data between opcodes, as a container has them that Built knows.
func TestBuilt(t *testing.T) {
	o := pickle.Options{
		Allow: func(pickle.Global) bool { return true },
		Built: func(o *pickle.Object, rest []byte) (int, error) {
			if o.Class.Name != "Raw" {
				return 0, nil
			}
			n, _ := pickle.Int(o.State)
			if n == 99 {
				return 0, errors.New("ninety-nine")
			}
			if int(n) >= 0 && int(n) <= len(rest) {
				*o = pickle.Object{Class: o.Class, Args: pickle.Tuple{rest[:n]}}
			}
			return int(n), nil
		},
	}
	f := func(in, want string) {
		t.Helper()
		v, err := pickle.Decode([]byte(in), o)
		got := fmt.Sprint(err)
		if err == nil {
			var parts []string
			for _, item := range v.(pickle.Tuple) {
				parts = append(parts, fmt.Sprint(item.(*pickle.Object).Args))
			}
			got = strings.Join(parts, " ")
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("(ccar\nRaw\n)\x81K\x02b..ccar\nWheel\n)\x81K\x02bt.", "[[46 46]] []")
	f("(ccar\nRaw\n)\x81q\x01K\x02b..h\x01t.", "[[46 46]] [[46 46]]") // the memo has what Built made
	f("(ccar\nRaw\n)\x81K\x00bt.", "[[]]")
	f("(ccar\nRaw\n)\x81K\x05bt.", "car.Raw: the pickle ends in the middle of an opcode: 5 bytes wanted, 2 left")
	f("(ccar\nRaw\n)\x81J\xff\xff\xff\xffbt.", "-1 bytes wanted")
	f("(ccar\nRaw\n)\x81K\x63bt.", "BUILD: car.Raw: ninety-nine")
}
