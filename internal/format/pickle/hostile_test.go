package pickle_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/format/pickle"
)

// hostile are pickles that must be refused, with a part of the message. Each
// is a small change of something that loads: see TestDecode.
var hostile = []struct {
	name, in, want string
	is             error // sentinel, nil where there is none
}{
	// What would run.
	{"system, protocol 0", "cposix\nsystem\n(S'touch /tmp/pwned-a'\ntR.", `at byte 0x0: GLOBAL: global is not on the allow list: "posix.system"`, pickle.ErrForbiddenGlobal},
	{"system, protocol 4", "\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x12touch /tmp/pwned-b\x85R.", `"posix.system"`, pickle.ErrForbiddenGlobal},
	{"inner pickle", "c_pickle\nloads\nC\x08cos\nx\n)R.\x85R.", `"_pickle.loads"`, pickle.ErrForbiddenGlobal},
	{"getattr", "c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR.", `"builtins.getattr"`, pickle.ErrForbiddenGlobal},
	{"name with dots", "\x8c\x03car\x8c\x0eWheel.__init__\x93.", `"car.Wheel.__init__"`, pickle.ErrForbiddenGlobal},
	{"module with dots moved into the name", "\x8c\x00\x8c\x09car.Wheel\x93.", `".car.Wheel"`, pickle.ErrForbiddenGlobal},
	{"other case", "cCar\nWheel\n.", `"Car.Wheel"`, pickle.ErrForbiddenGlobal},
	{"blank before the name", "ccar\n Wheel\n.", `"car. Wheel"`, pickle.ErrForbiddenGlobal},
	{"long name", "c" + strings.Repeat("m", 5000) + "\nx\n.", `bytes)`, pickle.ErrForbiddenGlobal},
	{"memo swapped before STACK_GLOBAL", "\x8c\x03carq\x00\x8c\x05posixq\x01\x8c\x06systemq\x020002h\x01h\x02\x93.", "underflow", nil},
	{"memo entry stored twice", "\x8c\x03carq\x000\x8c\x05posixq\x000h\x00\x8c\x06system\x93)R.", `"posix.system"`, pickle.ErrForbiddenGlobal},
	{"instance, protocol 0", "(S'ls'\nios\nsystem\n.", `INST: global is not on the allow list: "os.system"`, pickle.ErrForbiddenGlobal},
	{"instance, protocol 1", "(cos\nsystem\nS'ls'\no.", `"os.system"`, pickle.ErrForbiddenGlobal},
	{"reconstructor of a call", "ccopy_reg\n_reconstructor\n(ccar\nWheel\nccar\nmake\nNtR.", "something else than a plain class", nil},
	{"reconstructor without a class", "ccopy_reg\n_reconstructor\n(K\x01c__builtin__\nobject\nNtR.", "something else than a plain class", nil},
	{"reconstructor without arguments", "ccopy_reg\n_reconstructor\n)R.", "something else than a plain class", nil},
	{"extension registry 1", "\x82\x01.", "EXT1: the extension registry", nil},
	{"extension registry 2", "\x83\x01\x00.", "EXT2", nil},
	{"extension registry 4", "\x84\x01\x00\x00\x00.", "EXT4", nil},
	{"buffer", "\x97.", "NEXT_BUFFER", nil},
	{"read-only buffer", "C\x01a\x98.", "READONLY_BUFFER", nil},
	{"persistent id", "Pbad\n.", "PERSID: no such thing", nil},
	{"state for a class", "ccar\nWheel\n}K\x01K\x02sb.", "BUILD: state for a global car.Wheel", nil},
	{"state for a dict", "}}b.", "state for a dict", nil},
	{"two states", "ccar\nWheel\n)\x81}b}b.", "a second state for a car.Wheel", nil},
	{"two states of an OrderedDict", "ccollections\nOrderedDict\n)R}b}b.", "state for a dict", nil},
	{"call of data", "K\x01)R.", "REDUCE: call of a int", nil},
	{"call of an instance", "ccar\nWheel\n)\x81)R.", "call of a car.Wheel", nil},
	{"call with a list", "ccar\nWheel\n]R.", "arguments are a list", nil},
	{"instance of data", "K\x01)\x81.", "call of a int", nil},
	{"instance with a list", "ccar\nWheel\n]\x81.", "arguments are a list", nil},
	{"keywords that are no dict", "ccar\nWheel\n)]\x92.", "keyword arguments are a list", nil},
	{"keywords without arguments", "}\x92.", "underflow", nil},
	{"keywords without a class", ")}\x92.", "underflow", nil},
	{"no keywords", "\x92.", "underflow", nil},
	{"refused construction", "ccar\nmake\n)R.", "car.make: nothing to make", nil},
	{"global of numbers", "K\x01K\x02\x93.", "named by a int and a int", nil},
	{"global of nothing", "\x93.", "underflow", nil},
	{"global of one text", "\x8c\x01a\x93.", "underflow", nil},
	{"global cut off", "ccar", "no end of line", nil},
	{"name of a global cut off", "ccar\nWheel", "no end of line", nil},
	{"instance cut off", "(icar", "no end of line", nil},
	{"instance without a mark", "icar\nWheel\n.", "no mark", nil},
	{"instance of a number", "(K\x01o.", "instance of a int", nil},
	{"instance of nothing", "(o.", "underflow", nil},
	{"instance without a mark, protocol 1", "o.", "no mark", nil},

	// Data written down by a call.
	{"encode in another codec", "c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "something else than a text in Latin-1", nil},
	{"encode of a number", "c_codecs\nencode\nK\x01\x85R.", "something else than a text in Latin-1", nil},
	{"encode beyond the codec", "c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R.", "U+20AC is not in Latin-1", nil},
	{"bytes of a number", "cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", "builtins.bytes of a int", nil},
	{"bytes of a text beyond the codec", "cbuiltins\nbytes\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R.", "not in Latin-1", nil},
	{"set of a number", "cbuiltins\nset\nK\x01\x85R.", "something else than a list", nil},
	{"set of lists", "cbuiltins\nset\n]]a\x85R.", "a list in a set", nil},
	{"OrderedDict of a number", "ccollections\nOrderedDict\nK\x01\x85R.", "something else than a list", nil},
	{"OrderedDict of numbers", "ccollections\nOrderedDict\n]K\x01a\x85R.", "something else than pairs", nil},
	{"OrderedDict of equal keys", "ccollections\nOrderedDict\n](K\x01N\x86K\x01N\x86e\x85R.", "twice", nil},
	{"encoded again and again", "c_codecs\nencode\n(X\xc8\x00\x00\x00" + strings.Repeat("a", 200) + "X\x06\x00\x00\x00latin1tq\x00" + strings.Repeat("c_codecs\nencode\nh\x00R0", 200) + "N.", "bytes made by _codecs.encode", pickle.ErrLimit},
	{"copied again and again", "(" + strings.Repeat("N", 4000) + "lq\x00(" + strings.Repeat("cbuiltins\nlist\nh\x00\x85R", 200) + "t.", "items copied by builtins.list", pickle.ErrLimit},

	// Shapes of the result.
	{"deep tuples", ")" + strings.Repeat("\x85", 200_000) + ".", "nested deeper than 200 levels", pickle.ErrLimit},
	{"deep lists", strings.Repeat("]", 1000) + strings.Repeat("a", 999) + ".", "nested deeper", pickle.ErrLimit},
	{"deep by sharing", deepShared(), "nested deeper", pickle.ErrLimit},
	{"list in itself", "]q\x00h\x00a.", "contains itself", nil},
	{"dict in itself", "}q\x00K\x01h\x00s.", "contains itself", nil},
	{"object in its state", "ccar\nWheel\n)\x81q\x00}K\x01h\x00sb.", "contains itself", nil},
	{"object in its keywords", "ccar\nWheel\n)}q\x00\x92q\x01h\x00K\x01h\x01s0.", "contains itself", nil},
	{"object in its own entries", "ccar\nWheel\n)\x81q\x00K\x01h\x00s.", "contains itself", nil},
	{"object in its own items", "ccar\nWheel\n)\x81q\x00h\x00a.", "contains itself", nil},
	{"tuple in its list", "]q\x00h\x00\x85a.", "contains itself", nil},
	{"doubled 64 times", ")" + strings.Repeat("2\x86", 64) + ".", "once shared ones are unfolded", pickle.ErrLimit},
	{"doubled lists", "]q\x00" + strings.Repeat("0]h\x00ah\x00aq\x00", 60) + ".", "unfolded", pickle.ErrLimit},

	// Sizes that are not there.
	{"2^60 bytes", "\x8e\x00\x00\x00\x00\x00\x00\x00\x10abc.", "1152921504606846976 bytes wanted, 4 left", nil},
	{"2^64-1 bytes", "\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.", "18446744073709551615 bytes wanted", nil},
	{"2^31 bytes", "T\x00\x00\x00\x80abc.", "negative length", nil},
	{"negative LONG4", "\x8b\xff\xff\xff\xff\x01.", "negative length -1", nil},
	{"LONG4 beyond the end", "\x8b\xff\xff\xff\x7f\x01.", "2147483647 bytes wanted", nil},
	{"huge LONG4", "\x8b\x00\x20\x00\x00" + strings.Repeat("\x01", 8192) + ".", "an integer of 8192 bytes", pickle.ErrLimit},
	{"huge LONG", "L" + strings.Repeat("9", 5000) + "L\n.", "an integer of 5000 digits", pickle.ErrLimit},
	{"frame beyond the end", "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "FRAME: ", nil},
	{"short frame", "\x95\x01.", "FRAME: ", nil},
	{"endless line", "S'" + strings.Repeat("a", 70_000), "no end of line within 65536 bytes", nil},
	{"BININT cut off", "J\x01", "BININT: ", nil},
	{"BININT1 cut off", "K", "BININT1: ", nil},
	{"BININT2 cut off", "M\x01", "BININT2: ", nil},
	{"BINFLOAT cut off", "G\x01", "BINFLOAT: ", nil},
	{"LONG1 cut off", "\x8a", "LONG1: ", nil},
	{"LONG4 cut off", "\x8b\x01", "LONG4: ", nil},
	{"BINSTRING cut off", "T\x01", "BINSTRING: ", nil},
	{"BINSTRING of more than there is", "T\x05\x00\x00\x00a", "BINSTRING: ", nil},
	{"BINUNICODE cut off", "X\x01", "BINUNICODE: ", nil},
	{"BINGET cut off", "h", "BINGET: ", nil},
	{"BINPUT cut off", "Nq", "BINPUT: ", nil},
	{"PROTO cut off", "\x80", "PROTO: ", nil},
	{"PERSID cut off", "Pa", "PERSID: ", nil},
	{"INT cut off", "I1", "INT: ", nil},
	{"LONG cut off", "L1", "LONG: ", nil},
	{"FLOAT cut off", "F1", "FLOAT: ", nil},
	{"STRING cut off", "S'", "STRING: ", nil},
	{"UNICODE cut off", "Va", "UNICODE: ", nil},
	{"GET cut off", "g1", "GET: ", nil},

	// Texts that are no numbers or no texts.
	{"INT of words", "Ione\n.", "not an integer", nil},
	{"INT of nothing", "I\n.", "not an integer", nil},
	{"INT with underscores", "I1_000\n.", "not an integer", nil},
	{"INT in hex", "I0x10\n.", "not an integer", nil},
	{"LONG of a sign", "L-L\n.", "not an integer", nil},
	{"FLOAT of words", "Fone\n.", "not a number", nil},
	{"FLOAT in hex", "F0x1p3\n.", "not a number", nil},
	{"FLOAT infinity", "FInfinity\n.", "not a number", nil},
	{"STRING without quotes", "Sabc\n.", "not a quoted string", nil},
	{"STRING of one quote", "S'\n.", "not a quoted string", nil},
	{"STRING with an open escape", "S'\\x4'\n.", "incomplete escape", nil},
	{"STRING with a bad escape", "S'\\xzz'\n.", "bad escape", nil},
	{"UNICODE with a surrogate", "V\\ud800\n.", "no character", nil},
	{"UNICODE with an open escape", "V\\u12\n.", "incomplete escape", nil},
	{"text that is not UTF-8", "X\x01\x00\x00\x00\xff.", "not UTF-8", nil},
	{"protocol 6", "\x80\x06N.", "protocol 6", nil},

	// The stack and the memo.
	{"nothing", "", "ends without STOP", nil},
	{"only STOP", ".", "0 values and 0 marks", nil},
	{"no STOP", "K\x01K\x02\x86", "ends without STOP", nil},
	{"two values", "NN.", "2 values and 0 marks", nil},
	{"a mark", "N(.", "1 values and 1 marks", nil},
	{"POP of nothing", "0.", "POP: stack underflow", nil},
	{"POP_MARK of nothing", "1.", "POP_MARK: no mark", nil},
	{"DUP of nothing", "2.", "DUP: stack underflow", nil},
	{"TUPLE2 of one", "N\x86.", "TUPLE2: stack underflow", nil},
	{"TUPLE2 across a mark", "N(N\x86.", "TUPLE2: stack underflow", nil},
	{"TUPLE without a mark", "Nt.", "TUPLE: no mark", nil},
	{"LIST without a mark", "Nl.", "LIST: no mark", nil},
	{"DICT without a mark", "Nd.", "DICT: no mark", nil},
	{"DICT of one", "(Nd.", "a key without a value", nil},
	{"FROZENSET without a mark", "N\x91.", "FROZENSET: no mark", nil},
	{"FROZENSET of lists", "(]\x91.", "a list in a set", nil},
	{"APPEND of nothing", "a.", "APPEND: stack underflow", nil},
	{"APPEND to nothing", "Na.", "APPEND: stack underflow", nil},
	{"APPEND to a tuple", ")Na.", "append to a tuple", nil},
	{"APPEND to a persistent value", "Pa\nNa.", "append to a str", nil},
	{"APPENDS without a mark", "]Ne.", "APPENDS: no mark", nil},
	{"SETITEM of nothing", "s.", "SETITEM: stack underflow", nil},
	{"SETITEM of a key", "Ns.", "SETITEM: stack underflow", nil},
	{"SETITEM to nothing", "NNs.", "SETITEM: stack underflow", nil},
	{"SETITEM to a list", "]NNs.", "entry of a list", nil},
	{"SETITEM to a made value", "ccar\nmake\nN\x85RNNs.", "entry of a str", nil},
	{"SETITEM of a list as a key", "}]Ns.", "a list as a key", nil},
	{"SETITEM of a tuple of lists as a key", "}]\x85Ns.", "a tuple as a key", nil},
	{"SETITEM of a deep tuple as a key", "})" + strings.Repeat("\x85", 20) + "Ns.", "a tuple as a key", nil},
	{"SETITEM of a long tuple as a key", "}(" + strings.Repeat("X\xff\x00\x00\x00"+strings.Repeat("a", 255), 20) + "tNs.", "a tuple as a key", nil},
	{"SETITEM of a wide tuple as a key", "})" + strings.Repeat("q\x000(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00t", 8) + "Ns.", "a tuple as a key", nil},
	{"SETITEM of a long text as a key", "}X\x01\x10\x00\x00" + strings.Repeat("a", 4097) + "Ns.", "a str as a key, or one that is too long", nil},
	{"SETITEM of long bytes as a key", "}B\x61\x00\x00\x00" + strings.Repeat("a", 97) + "Ns.", "a bytes as a key", nil},
	{"SETITEM of a long integer as a key", "}\x8b\x62\x00\x00\x00" + strings.Repeat("\x7f", 98) + "Ns.", "a int as a key", nil},
	{"SETITEM of an object in a tuple as a key", "}ccar\nWheel\n)\x81\x85Ns.", "a tuple as a key", nil},
	{"SETITEMS without a mark", "}NNu.", "SETITEMS: no mark", nil},
	{"SETITEMS of one", "}(Nu.", "a key without a value", nil},
	{"equal keys", "}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu.", `key "a" twice`, nil},
	{"keys that Python takes for equal", "}(K\x01N\x88Nu.", "a key of type bool twice", nil},
	{"equal bytes", "}(C\x01aNC\x01bNC\x01aNu.", "a key of type bytes twice", nil},
	{"False and 0.0", "}(\x89NG\x00\x00\x00\x00\x00\x00\x00\x00Nu.", "a key of type float twice", nil},
	{"ADDITEMS without a mark", "\x8fN\x90.", "ADDITEMS: no mark", nil},
	{"ADDITEMS to nothing", "(N\x90.", "ADDITEMS: stack underflow", nil},
	{"ADDITEMS to a list", "](N\x90.", "item of a list", nil},
	{"ADDITEMS to a frozenset", "(\x91(N\x90.", "item of a set", nil},
	{"ADDITEMS of a list", "\x8f(]\x90.", "a list in a set", nil},
	{"GET of an unknown entry", "h\x05.", "memo entry 5 was never stored", nil},
	{"GET of a word", "gone\n.", "not the number of a memo entry", nil},
	{"PUT of a word", "Npone\n.", "not the number of a memo entry", nil},
	{"PUT of nothing", "q\x00.", "BINPUT: stack underflow", nil},
	{"PUT beyond the memo", "Nr\xff\xff\xff\xff.", "memo entry 4294967295", pickle.ErrLimit},
	{"MEMOIZE of nothing", "\x94.", "MEMOIZE: stack underflow", nil},
	{"BUILD of nothing", "b.", "BUILD: stack underflow", nil},
	{"BUILD on nothing", "}b.", "BUILD: stack underflow", nil},
	{"REDUCE of nothing", "R.", "REDUCE: stack underflow", nil},
	{"REDUCE of arguments", ")R.", "REDUCE: stack underflow", nil},
	{"NEWOBJ of nothing", "\x81.", "NEWOBJ: stack underflow", nil},
	{"NEWOBJ of arguments", ")\x81.", "NEWOBJ: stack underflow", nil},
	{"BINPERSID of nothing", "Q.", "BINPERSID: stack underflow", nil},
	{"unknown opcode", "N\xfe.", "at byte 0x1: unknown opcode 0xfe", nil},
	{"bytes behind the end", "N.N.", "at byte 0x2: 2 bytes after the end", nil},
	{"too many opcodes", strings.Repeat("N0", 130_000) + "N.", "more than 250000 opcodes", pickle.ErrLimit},
	{"too many memo entries", "N" + strings.Repeat("\x94", 130_000) + ".", "at most 125000 entries", pickle.ErrLimit},
}

// deepShared makes a list of 150 levels and puts it, once walked, below
// another 150.
func deepShared() string {
	deep := ")" + strings.Repeat("\x85", 150) + "q\x00"
	return deep + "h\x00" + strings.Repeat("\x85", 150) + "\x86."
}

func TestDecodeHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			guarded(t, func() error {
				_, err := pickle.Decode([]byte(c.in), options)
				return refused(err, c.want, c.is)
			})
		})
	}
}

// refused says what is wrong with a refusal.
func refused(err error, want string, is error) error {
	fe := new(pickle.FormatError)
	switch {
	case err == nil:
		return errors.New("loads")
	case !errors.As(err, &fe) || fe.Format != "pickle":
		return fmt.Errorf("%T is no FormatError of a pickle: %w", err, err)
	case !strings.Contains(err.Error(), want):
		return fmt.Errorf("got %q, want %q in it", err, want)
	case is != nil && !errors.Is(err, is):
		return fmt.Errorf("%q is not %q", err, is)
	case len(err.Error()) > 400:
		return fmt.Errorf("a message of %d bytes", len(err.Error()))
	}
	return nil
}

// guarded runs f within the time and the memory that one file may take, and
// looks for what a hostile file would leave behind.
func guarded(t *testing.T, f func() error) {
	t.Helper()
	// It takes milliseconds; what grows with what a file claims would take minutes.
	const maxBytes, maxTime = 64 << 20, 10 * time.Second
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Error(err)
	}
	if took > slowdown*maxTime {
		t.Errorf("took %v", took)
	}
	// All that was allocated, so no less than what was held at any time.
	if n := after.TotalAlloc - before.TotalAlloc; n > maxBytes {
		t.Errorf("allocated %d MiB", n>>20)
	}
	if found, _ := os.ReadDir("/tmp"); found != nil {
		for _, e := range found {
			if strings.HasPrefix(e.Name(), "pwned-") {
				t.Errorf("/tmp/%s was made", e.Name())
			}
		}
	}
}

// Without an allow-list and without persistent ids none is taken.
func TestDecodeClosedByDefault(t *testing.T) {
	for _, in := range []string{"ccollections\nOrderedDict\n.", "c_codecs\nencode\n."} {
		if _, err := pickle.Decode([]byte(in), pickle.Options{}); !errors.Is(err, pickle.ErrForbiddenGlobal) {
			t.Errorf("%q: got %v", in, err)
		}
	}
	_, err := pickle.Decode([]byte("P1\n."), pickle.Options{})
	if err := refused(err, "a persistent id outside an archive", nil); err != nil {
		t.Error(err)
	}
	if _, _, err := pickle.DecodePrefix([]byte("Q."), pickle.Options{}); err == nil {
		t.Error("loads")
	}
}

func TestForbiddenGlobalIsNamed(t *testing.T) {
	_, err := pickle.Decode([]byte("cposix\nsystem\n."), options)
	var fe *pickle.ForbiddenGlobalError
	if !errors.As(err, &fe) || fe.Global != (pickle.Global{Module: "posix", Name: "system"}) {
		t.Errorf("got %v", err)
	}
}

func TestMaxBytes(t *testing.T) {
	o := options
	o.Limits.MaxBytes = 3
	if _, err := pickle.Decode([]byte("NN\x86."), o); !errors.Is(err, pickle.ErrLimit) {
		t.Errorf("got %v", err)
	}
	if _, err := pickle.Decode([]byte("N."), o); err != nil {
		t.Error(err)
	}
}

func TestFormatErrorPath(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		err := &pickle.FormatError{Format: "torch", Offset: -1, Path: path, Err: errors.New("no")}
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", "torch: no")
	f("data.pkl", "torch: data.pkl: no")
	f("a\nINFO b", `torch: "a\nINFO b": no`)
	f(strings.Repeat("a", 100), `torch: "`+strings.Repeat("a", 80)+`"... (100 bytes): no`)
}
