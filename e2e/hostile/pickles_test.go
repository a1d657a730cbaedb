//go:build e2e

package hostile_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// What a pickle may name beside the names in a sound file, by what the file is for.
// The oracle of the test knows these and nothing of the reader's lists: a file that
// is read and names anything else is a failure.
var harmless = map[string][]string{
	"preprocessor": {
		"copyreg _reconstructor", "copy_reg _reconstructor", "builtins object", "__builtin__ object", "builtins set", "__builtin__ set",
		"collections OrderedDict", "numpy dtype", "numpy ndarray", "numpy float64", "_codecs encode",
		"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar",
		"numpy._core.numeric _frombuffer", "joblib.numpy_pickle NumpyArrayWrapper",
		"sklearn.preprocessing._data StandardScaler", "sklearn.preprocessing._data MinMaxScaler", "sklearn.pipeline Pipeline",
		"stable_baselines3.common.vec_env.vec_normalize VecNormalize", "stable_baselines3.common.running_mean_std RunningMeanStd",
		"gymnasium.spaces.box Box", "numpy.random._pickle __randomstate_ctor",
	},
	"weights": {
		"collections OrderedDict", "builtins set", "__builtin__ set", "builtins frozenset", "numpy dtype", "numpy ndarray", "_codecs encode",
		"numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct",
		"numpy._core.numeric _frombuffer", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch FloatStorage", "torch LongStorage", "torch Size", "torch device",
		"torch.nn.parameter Parameter",
	},
	"script": {
		"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch FloatStorage", "torch LongStorage",
		"torch.jit._pickle build_intlist", "torch.jit._pickle build_boollist", "torch.jit._pickle restore_type_tag", "torch device",
	},
	"agent": {
		"gymnasium.spaces.box Box", "gymnasium.spaces.discrete Discrete", "numpy dtype", "numpy ndarray", "_codecs encode", "collections OrderedDict",
		"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy._core.numeric _frombuffer",
		"numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy float64", "numpy.random._pickle __randomstate_ctor",
		"copyreg _reconstructor", "copy_reg _reconstructor", "builtins object", "__builtin__ object",
		"torch.nn.modules.activation Tanh", "torch.nn.modules.activation ReLU",
		"stable_baselines3.common.policies ActorCriticPolicy",
	},
}

// plain reports whether a name is a harmless one of any role.
func plain(name string) bool {
	for _, names := range harmless {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// hurtful are callables that run code, open files or sockets, or reach such a
// one: those of the known attacks on pickles and of the ways around their
// scanners.
var hurtful = []string{
	"posix system", "nt system", "os system", "os popen", "os execv", "os remove", "os spawnv", "posix execve", "posix unlink", "subprocess Popen",
	"subprocess check_output", "subprocess run", "subprocess call", "_posixsubprocess fork_exec", "pty spawn", "commands getoutput",
	"builtins eval", "builtins exec", "builtins compile", "builtins open", "builtins getattr", "builtins setattr", "builtins __import__",
	"builtins globals", "builtins vars", "builtins map", "builtins filter", "builtins apply", "builtins breakpoint", "builtins input",
	"__builtin__ eval", "__builtin__ exec", "__builtin__ getattr", "__builtin__ execfile", "__builtin__ apply", "__builtins__ eval",
	"importlib import_module", "importlib.machinery SourceFileLoader", "runpy run_path", "runpy _run_code", "imp load_source", "pkgutil resolve_name",
	"operator attrgetter", "operator methodcaller", "operator itemgetter", "functools partial", "functools reduce", "types FunctionType", "types CodeType",
	"pickle loads", "pickle load", "_pickle loads", "_pickle Unpickler", "pickle _Unpickler", "cloudpickle.cloudpickle _make_function",
	"cloudpickle.cloudpickle _builtin_type", "cloudpickle cloudpickle.loads", "dill loads", "dill._dill _create_function", "joblib load",
	"joblib.numpy_pickle load", "marshal loads", "shelve open", "yaml unsafe_load", "code InteractiveInterpreter", "codeop compile_command",
	"bdb Bdb", "pdb run", "cProfile run", "profile run", "timeit timeit", "trace Trace", "doctest run_docstring_examples", "test.support script_helper",
	"socket socket", "socket create_connection", "urllib.request urlopen", "urllib.request urlretrieve", "http.client HTTPSConnection", "requests get",
	"ftplib FTP", "smtplib SMTP", "webbrowser open", "asyncio.unix_events _UnixSubprocessTransport", "multiprocessing.util spawnv_passfds",
	"ctypes CDLL", "ctypes.util find_library", "_ctypes dlopen", "shutil rmtree", "shutil copyfile", "tempfile mktemp", "pathlib Path.write_text",
	"pathlib PosixPath", "sys exit", "sys settrace", "sys modules", "signal raise_signal", "atexit register", "threading Thread", "logging FileHandler",
	"logging.config listen", "idlelib.pyshell ModifiedInterpreter", "idlelib.run Executive", "lib2to3.pgen2.grammar Grammar.loads", "pip main",
	"pip._internal main", "venv create", "ensurepip bootstrap", "distutils.file_util write_file", "setuptools setup", "site addpackage",
	"numpy load", "numpy.f2py.crackfortran getlincoef", "numpy.f2py.crackfortran myeval", "numpy.testing._private.utils runstring",
	"numpy.ma.core eval", "numpy.distutils.exec_command exec_command", "numpy.lib.npyio load", "numpy frompyfunc", "numpy vectorize", "numpy save",
	"numpy.core.multiarray fromfile", "numpy fromfile", "numpy genfromtxt", "numpy memmap", "numpy.ctypeslib load_library", "numpy.lib._utils_impl safe_eval",
	"torch load", "torch save", "torch.jit load", "torch.hub load", "torch.serialization load", "torch.storage _load_from_bytes",
	"torch.utils.cpp_extension load_inline", "torch.utils._config_module load_config", "torch.utils.collect_env run", "torch._dynamo.guards GuardBuilder.get",
	"torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression", "torch._inductor.codecache compile_file", "torch.distributed.rpc rpc_sync",
	"torch._C _jit_script_compile", "torch.package PackageImporter", "torch.multiprocessing spawn", "torch.utils.data.datapipes.utils.decoder basichandlers",
	"torch.nn.modules.module Module.load_state_dict", "torch._tensor _rebuild_from_type_v3", "torch.ops load_library", "torch.classes load_library",
	"sklearn.datasets fetch_openml", "sklearn.utils.metaestimators if_delegate_has_method", "sklearn.externals.joblib load", "sklearn.base clone",
	"pandas read_pickle", "pandas eval", "pandas.core.computation.eval eval", "scipy.io loadmat", "gym.wrappers Monitor", "gymnasium make",
	"stable_baselines3.common.save_util load_from_zip_file", "stable_baselines3.common.vec_env.subproc_vec_env _worker", "ray.cloudpickle loads",
	"onnx load_external_data_for_tensor", "tensorflow.keras.models load_model", "keras.layers.core Lambda", "jax.core eval_jaxpr",
	"copyreg add_extension", "copyreg __newobj__", "copyreg _extension_registry", "weakref finalize", "gc get_objects", "inspect getmodule", "ssl SSLSocket",
	"uuid _get_command_stdout", "platform popen", "webbrowser get", "antigravity geohash", "_aix_support _read_cmd_output", "_osx_support _find_build_tool",
	"_pyrepl.pager pipe_pager", "aiohttp.client ClientSession", "fsspec open", "fickling.fickle Pickled",
}

// crooked makes a name that looks like a harmless one, or that a careless
// reader takes apart in another way than Python does.
func crooked(r *rand.Rand, module, name string) (string, string) {
	switch r.IntN(12) {
	case 0:
		return module, name + ".__class__.__base__.__subclasses__"
	case 1:
		return module + ".", name
	case 2:
		return module, name + " "
	case 3:
		return " " + module, name
	case 4:
		return "", module + "." + name
	case 5:
		return module + "." + name, ""
	case 6:
		return module, name + "\x00"
	case 7:
		return swapCase(module), name
	case 8:
		return module, swapCase(name)
	case 9:
		return module, "__init__.__globals__"
	case 10:
		return "\u0430" + module, name // a Cyrillic letter
	default:
		return module + "\r", name
	}
}

func swapCase(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 32
			return string(b)
		}
	}
	return s + "_"
}

// grammar writes random pickles: sequences of opcodes of every protocol that
// mostly keep a sound stack, with names of all three kinds in all the ways that
// the protocols have for them.
type grammar struct {
	r      *rand.Rand
	role   string
	b      []byte
	memo   int  // entries that were stored, from 0 on
	budget int  // values still to be written
	nice   bool // only harmless names
	inside bool // of another pickle, whose memo is left alone
}

// spliced writes a value into a sound pickle, at any opcode, and throws it away
// behind itself: what is read is what was read without.
func (g *grammar) spliced(sound []byte) []byte {
	g.b, g.memo, g.budget, g.inside = nil, 0, 1+g.r.IntN(12), true
	g.value(0)
	g.inside = false
	places := opcodes(sound)
	first := 0
	if len(places) > 3 && sound[0] == 0x80 {
		first = 1
	}
	at := places[first+g.r.IntN(len(places)-first)]
	b := append([]byte(nil), sound[:at]...)
	return append(append(append(b, g.b...), '0'), sound[at:]...)
}

// pickle writes one file of a protocol.
func (g *grammar) pickle() []byte {
	g.b, g.memo, g.budget = nil, 0, 3+g.r.IntN(60)
	proto := g.r.IntN(6)
	if proto >= 2 || g.r.IntN(8) == 0 {
		g.op(0x80, byte(proto))
	}
	framed := proto >= 4 && g.r.IntN(2) == 0
	start := len(g.b)
	if framed {
		g.op(0x95, make([]byte, 8)...)
	}
	g.value(0)
	for range g.r.IntN(4) { // as a memo, then thrown away
		g.value(1)
		g.b = append(g.b, "0"...)
	}
	g.b = append(g.b, '.')
	if framed {
		n := uint64(len(g.b) - start - 9)
		if g.r.IntN(10) == 0 {
			n += g.r.Uint64N(1 << g.r.IntN(63))
		}
		binary.LittleEndian.PutUint64(g.b[start+1:], n)
	}
	switch g.r.IntN(24) {
	case 0: // a second pickle behind the first
		first := g.b
		g.b = nil
		g.value(0)
		g.b = append(append(first, g.b...), '.')
	case 1:
		g.b = g.b[:g.r.IntN(len(g.b))+1]
	case 2:
		for range 1 + g.r.IntN(4) {
			g.b[g.r.IntN(len(g.b))] ^= 1 << g.r.IntN(8)
		}
	case 3:
		at := g.r.IntN(len(g.b))
		g.b = append(g.b[:at:at], append([]byte{byte(g.r.IntN(256))}, g.b[at:]...)...)
	}
	return g.b
}

func (g *grammar) op(code byte, operand ...byte) { g.b = append(append(g.b, code), operand...) }

func (g *grammar) u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// value pushes one value, of any kind.
func (g *grammar) value(depth int) {
	if g.budget--; g.budget < 0 || depth > 20 {
		g.scalar()
		return
	}
	switch n := g.r.IntN(20); {
	case n < 6:
		g.scalar()
	case n < 9:
		g.container(depth)
	case n < 15:
		g.called(depth)
	case n < 17 && g.memo > 0:
		g.get(g.r.IntN(g.memo))
	case n == 17:
		g.persistent()
	case n == 18:
		g.strange(depth)
	default:
		g.global()
	}
	if g.r.IntN(3) == 0 {
		g.put()
	}
}

func (g *grammar) scalar() {
	r := g.r
	switch r.IntN(22) {
	case 0:
		g.op('N')
	case 1:
		g.op([]byte{0x88, 0x89}[r.IntN(2)])
	case 2:
		g.b = append(g.b, "I0"+strconv.Itoa(r.IntN(2))+"\n"...)
	case 3:
		g.b = append(g.b, fmt.Sprintf("I%d\n", r.Int64()-r.Int64())...)
	case 4:
		g.b = append(g.b, fmt.Sprintf("L%d%dL\n", r.Int64(), r.Int64())...)
	case 5:
		g.op('J', g.u32(r.Uint32())...)
	case 6:
		g.op('K', byte(r.IntN(256)))
	case 7:
		g.op('M', byte(r.IntN(256)), byte(r.IntN(256)))
	case 8:
		n := r.IntN(20)
		g.op(0x8a, byte(n))
		g.random(n)
	case 9:
		n := r.IntN(20)
		g.op(0x8b, g.u32(uint32(n))...)
		g.random(n)
	case 10:
		g.op('G', binary.BigEndian.AppendUint64(nil, math.Float64bits(r.NormFloat64()))...)
	case 11:
		g.b = append(g.b, fmt.Sprintf("F%g\n", r.NormFloat64())...)
	case 12:
		g.b = append(g.b, "S"+strconv.QuoteToASCII(g.word())+"\n"...)
	case 13:
		g.b = append(g.b, "V"+g.word()+"\n"...)
	case 14:
		n := r.IntN(30)
		g.op('C', byte(n))
		g.random(n)
	case 15:
		n := r.IntN(30)
		g.op('B', g.u32(uint32(n))...)
		g.random(n)
	case 16:
		n := r.IntN(30)
		g.op([]byte{0x8e, 0x96}[r.IntN(2)], binary.LittleEndian.AppendUint64(nil, uint64(n))...)
		g.random(n)
	case 17:
		g.op(0x8e, binary.LittleEndian.AppendUint64(nil, r.Uint64()>>r.IntN(64))...)
	default:
		g.text(g.word())
	}
}

func (g *grammar) random(n int) {
	for range n {
		g.b = append(g.b, byte(g.r.IntN(256)))
	}
}

func (g *grammar) word() string {
	words := []string{"mean_", "scale_", "__dict__", "__class__", "__reduce__", "__setstate__", "id", "touch /tmp/pwned-grammar", "f8", "O8", "latin1", "storage", "cpu", "0", "",
		"import os; os.system('touch /tmp/pwned-grammar')", "obs_rms", "numpy_array_alignment_bytes", "shape", "training", "_modules", "_parameters", "__slots__", "rot13"}
	return words[g.r.IntN(len(words))]
}

// text pushes a string by one of the opcodes that have them.
func (g *grammar) text(s string) {
	switch n := g.r.IntN(4); {
	case n == 0 && len(s) < 256:
		g.op(0x8c, byte(len(s)))
	case n == 1:
		g.op(0x8d, binary.LittleEndian.AppendUint64(nil, uint64(len(s)))...)
	default:
		g.op('X', g.u32(uint32(len(s)))...)
	}
	g.b = append(g.b, s...)
}

func (g *grammar) container(depth int) {
	r := g.r
	n := r.IntN(4)
	switch r.IntN(12) {
	case 0:
		g.op([]byte{')', ']', '}', 0x8f}[r.IntN(4)])
	case 1:
		g.value(depth + 1)
		g.op(0x85)
	case 2:
		g.value(depth + 1)
		g.value(depth + 1)
		g.op(0x86)
	case 3:
		g.value(depth + 1)
		g.value(depth + 1)
		g.value(depth + 1)
		g.op(0x87)
	case 4, 5:
		g.many(depth, n)
		g.op([]byte{'t', 'l', 0x91}[r.IntN(3)])
	case 6:
		g.many(depth, 2*n)
		g.op('d')
	case 7:
		g.op(']')
		g.put()
		for range n {
			g.value(depth + 1)
			g.op('a')
		}
	case 8:
		g.op(']')
		g.many(depth, n)
		g.op('e')
	case 9:
		g.op('}')
		for range n {
			g.text(g.word())
			g.value(depth + 1)
			g.op('s')
		}
	case 10:
		g.op('}')
		g.many(depth, 2*n)
		g.op('u')
	default:
		g.op(0x8f)
		g.many(depth, n)
		g.op(0x90)
	}
}

func (g *grammar) many(depth, n int) {
	g.op('(')
	for range n {
		g.value(depth + 1)
	}
}

// name draws a name: mostly a hurtful one, but in a nice pickle.
func (g *grammar) name() (module, name string) {
	pick := func(from []string) (string, string) {
		s := from[g.r.IntN(len(from))]
		for i := range s {
			if s[i] == ' ' {
				return s[:i], s[i+1:]
			}
		}
		return s, ""
	}
	n := g.r.IntN(20)
	if g.nice {
		n = 0
	}
	switch {
	case n < 9:
		return pick(harmless[g.role])
	case n < 17:
		return pick(hurtful)
	case n < 18:
		roles := []string{"preprocessor", "weights", "script", "agent"}
		return pick(harmless[roles[g.r.IntN(len(roles))]])
	default:
		module, name = pick(harmless[g.role])
		if g.r.IntN(2) == 0 {
			module, name = pick(hurtful)
		}
		return crooked(g.r, module, name)
	}
}

// global pushes a name, in one of the ways that there are.
func (g *grammar) global() {
	module, name := g.name()
	n := g.r.IntN(7)
	if g.inside && n == 5 {
		n = 0
	}
	switch n {
	case 0, 1, 2:
		g.b = append(g.b, "c"+module+"\n"+name+"\n"...)
	case 3, 4:
		g.text(module)
		g.text(name)
		g.op(0x93)
	case 5: // through the memo, where another one is stored before
		g.text("collections")
		g.op('q', 200)
		g.text(module)
		g.op('q', 200)
		g.op('0')
		g.op('0')
		g.op('h', 200)
		g.text(name)
		g.op(0x93)
	default: // a copy of the same text, by DUP
		g.text(module)
		g.op('2')
		g.op('0')
		g.text(name)
		g.op(0x93)
	}
}

// called pushes what a call gives, in all its forms.
func (g *grammar) called(depth int) {
	r := g.r
	switch r.IntN(8) {
	case 0, 1, 2:
		g.global()
		g.arguments(depth)
		g.op('R')
	case 3:
		g.global()
		g.arguments(depth)
		g.op(0x81)
	case 4:
		g.global()
		g.arguments(depth)
		g.op('}')
		g.op(0x92)
	case 5:
		module, name := g.name()
		g.many(depth, r.IntN(3))
		g.b = append(g.b, "i"+module+"\n"+name+"\n"...)
	case 6:
		g.op('(')
		g.global()
		for range r.IntN(3) {
			g.value(depth + 1)
		}
		g.op('o')
	default:
		g.value(depth + 1)
		g.arguments(depth)
		g.op('R')
	}
	switch r.IntN(4) {
	case 0:
		g.op('}')
		g.text(g.word())
		g.value(depth + 1)
		g.op('s')
		g.op('b')
	case 1:
		g.value(depth + 1)
		g.op('b')
	}
}

func (g *grammar) arguments(depth int) {
	switch g.r.IntN(4) {
	case 0:
		g.op(')')
	case 1:
		g.text(g.word())
		g.op(0x85)
	default:
		g.many(depth, g.r.IntN(4))
		g.op('t')
	}
}

func (g *grammar) put() {
	if g.inside {
		return
	}
	n := g.memo
	if g.memo > 0 && g.r.IntN(8) == 0 {
		n = g.r.IntN(g.memo) // over another one
	}
	switch g.r.IntN(4) {
	case 0:
		g.b = append(g.b, fmt.Sprintf("p%d\n", n)...)
	case 1:
		g.op('q', byte(n))
	case 2:
		g.op('r', g.u32(uint32(n))...)
	default:
		if n != g.memo {
			g.op('q', byte(n))
			break
		}
		g.op(0x94)
	}
	if n == g.memo && g.memo < 150 {
		g.memo++
	}
}

func (g *grammar) get(n int) {
	switch g.r.IntN(3) {
	case 0:
		g.b = append(g.b, fmt.Sprintf("g%d\n", n)...)
	case 1:
		g.op('h', byte(n))
	default:
		g.op('j', g.u32(uint32(n))...)
	}
}

func (g *grammar) persistent() {
	if g.r.IntN(2) == 0 {
		g.b = append(g.b, "P"+g.word()+"\n"...)
		return
	}
	g.op('(')
	g.text("storage")
	g.global()
	g.text(strconv.Itoa(g.r.IntN(3)))
	g.text("cpu")
	g.op('K', byte(g.r.IntN(40)))
	g.op('t')
	g.op('Q')
}

// strange writes opcodes that no trainer's file has.
func (g *grammar) strange(depth int) {
	switch g.r.IntN(6) {
	case 0:
		g.op(0x82, byte(g.r.IntN(256))) // EXT1
	case 1:
		g.op(0x84, g.u32(g.r.Uint32())...) // EXT4
	case 2:
		g.op(0x97) // NEXT_BUFFER
	case 3:
		g.value(depth + 1)
		g.op(0x98) // READONLY_BUFFER
	case 4:
		g.many(depth, g.r.IntN(4))
		g.op('1') // POP_MARK
		g.scalar()
	default:
		g.op(byte(g.r.IntN(256)))
	}
}
