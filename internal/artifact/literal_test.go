package artifact

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseLiteral(t *testing.T) {
	f := func(in string, want any) {
		t.Helper()
		got, err := parseLiteral(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, %v; want %#v", in, got, err, want)
		}
	}
	both := []keyword{{"norm_obs", true}, {"norm_reward", false}}
	f("{'norm_obs': True, 'norm_reward': False}", both)
	f(`{"norm_obs":True,"norm_reward":False,}`, both)
	f("dict(norm_obs=True, norm_reward=False)", both)
	f(" dict( norm_obs = True ,\n norm_reward=False , ) ", both)
	f("{}", []keyword{})
	f("dict()", []keyword{})
	f("[1, -2.5, 1e3, 1_000]", []any{1.0, -2.5, 1000.0, 1000.0})
	f("(1,)", []any{1.0})
	f("()", []any{})
	f("None", nil)
	f(`'it\'s "so"'`, `it's "so"`)
	f("{'a': {'b': [None]}}", []keyword{{"a", []keyword{{"b", []any{nil}}}}})
}

func TestParseLiteralRefuses(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if v, err := parseLiteral(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, %v; want %q", in, v, err, want)
		}
	}
	f("", "ends too early")
	f("nn.ReLU", `the name "nn"`)
	f("__import__('os').system('touch /tmp/pwned-l')", `the name "__import__"`)
	f("dict(activation_fn=nn.ReLU)", `the name "nn"`)
	f("dict", "ends too early")
	f("dict(a)", "not a literal")
	f("dict(1=2)", "not a literal")
	f("{'a' 1}", "not a literal")
	f("{1: 2}", "not a literal")
	f("[1 2]", "not a literal")
	f("[1", "ends too early")
	f("'a", "without an end")
	f(`'\n'`, "an escape")
	f("'a\nb'", "over lines")
	f("1+1", "the number")
	f("True and False", "not a literal")
	f(strings.Repeat("[", 18)+strings.Repeat("]", 18), "nested deeper")
	f(strings.Repeat(" ", 1<<20), "at most")
	if _, err := parseLiteral(strings.Repeat("[", 100)); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseLiteral asserts that a text is refused or that it is data.
func FuzzParseLiteral(f *testing.F) {
	for _, in := range []string{"{'a': True, 'b': [1, None]}", "dict(a=1, b=(2,))", "'x'", "-1.5e3", "dict(a=dict(b={}))", "[[[", "nn.ReLU"} {
		f.Add(in)
	}
	var depth func(v any) int
	depth = func(v any) int {
		deepest := 0
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				deepest = max(deepest, 1+depth(e))
			}
		case []keyword:
			for _, e := range v {
				deepest = max(deepest, 1+depth(e.value))
			}
		}
		return deepest
	}
	f.Fuzz(func(t *testing.T, in string) {
		v, err := parseLiteral(in)
		switch {
		case err != nil && !errors.Is(err, errLiteral) && !errors.Is(err, ErrLimit):
			t.Fatalf("%v is neither a refusal nor a limit", err)
		case depth(v) > maxLiteralDepth+1:
			t.Fatalf("%d levels", depth(v))
		}
	})
}
