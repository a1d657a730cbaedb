package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

// DefaultFile is read where it exists and no other file is named.
const DefaultFile = "/app/config/config.yaml"

// Options are the sources of a configuration.
type Options struct {
	// File is the file to read, which must exist. Empty takes the variable
	// CONFIG_FILE, and without it DefaultFile where that exists.
	File string
	// DefaultFile replaces the constant of that name.
	DefaultFile string
	// Environ is the environment as os.Environ returns it.
	Environ []string
	// Flags are values of the command line by key: "server.port" → "9000".
	Flags map[string]string
	// ONNXRuntime says that the program was built with that engine.
	ONNXRuntime bool

	// alone tells that the file itself is what is asked about, not a setting
	// that names it.
	alone bool
}

// Problem is one mistake in a configuration.
type Problem struct {
	Source Source
	Key    string // "" where the source as a whole is wrong
	Err    error
}

// String says where the mistake is and what it is, in one line.
func (p Problem) String() string {
	var at string
	switch p.Source.Kind {
	case "file":
		at = p.Source.Name
		if p.Source.Line > 0 {
			at += fmt.Sprintf(":%d", p.Source.Line)
		}
		if p.Key != "" {
			at += ": " + p.Key
		}
	case "environment":
		at = "environment: " + p.Source.Name
	case "flag":
		at = "command line: " + p.Source.Name
	default:
		at = p.Key
	}
	return at + ": " + p.Err.Error()
}

// Error is returned for a configuration that cannot be used. It holds every
// mistake.
type Error struct{ Problems []Problem }

// Error lists the mistakes.
func (e *Error) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.String()
	}
	return strings.Join(parts, "; ")
}

// Unwrap lets errors.Is and errors.As see every mistake.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p.Err
	}
	return errs
}

// Load makes a configuration of all its sources. The notes are full sentences
// for the operator: settings without an effect, and what is unusual. The error
// is an *Error.
func Load(o Options) (*Config, []string, error) {
	l := &loader{c: Default(), o: o, env: environ(o.Environ)}
	l.c.sources = map[string]Source{}
	l.settings = l.c.settings()
	l.file()
	l.environment()
	l.flags()
	l.check()
	if len(l.problems) > 0 {
		return nil, nil, &Error{l.problems}
	}
	if l.c.Server.Workers == 0 {
		l.c.Server.Workers, l.c.lanesFound = defaultWorkers(), true
	}
	return l.c, l.notes(), nil
}

// Check reads one file as if it were the only source and returns everything
// that is wrong with it.
func Check(file string, o Options) ([]Problem, []string) {
	o.File, o.Environ, o.Flags, o.alone = file, nil, nil, true
	_, notes, err := Load(o)
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Problems, nil
	}
	return nil, notes
}

type loader struct {
	c        *Config
	o        Options
	env      map[string]string
	settings []setting
	problems []Problem
	shortKey bool // whether a key can be guessed
	knownKey bool // whether a key is that of the examples
	adminKey bool // whether a key is an admin's
}

func environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, e := range list {
		name, value, ok := strings.Cut(e, "=")
		if ok {
			env[name] = value
		}
	}
	return env
}

func (l *loader) fail(src Source, key string, err error) {
	l.problems = append(l.problems, Problem{Source: src, Key: key, Err: err})
}

func (l *loader) find(key string) *setting {
	i := slices.IndexFunc(l.settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return &l.settings[i]
}

// set gives a setting a value from a source.
func (l *loader) set(s *setting, src Source, text string) {
	if err := set(s.dst, text); err != nil {
		l.fail(src, s.key, err)
		return
	}
	if text != "" && strings.TrimSpace(text) == "" && guards(s.key) {
		l.fail(src, s.key, errBlank)
		return
	}
	l.c.sources[s.key] = src
}

// environment reads the variables of the table. An empty or blank variable says
// nothing, as templates often leave one; but a blank one that should hold a key
// is refused, because the server would be open without it.
func (l *loader) environment() {
	for i := range l.settings {
		s := &l.settings[i]
		switch text := l.env[s.env]; {
		case strings.TrimSpace(text) != "":
			l.set(s, Source{Kind: "environment", Name: s.env}, text)
		case text != "" && guards(s.key):
			l.fail(Source{Kind: "environment", Name: s.env}, s.key, errBlank)
		}
	}
}

func (l *loader) flags() {
	for _, key := range slices.Sorted(mapKeys(l.o.Flags)) {
		s := l.find(key)
		if s == nil {
			l.fail(Source{Kind: "flag", Name: key}, key, unknownKey(key))
			continue
		}
		name := key
		switch {
		case s.flag == "":
		case s.flag == strings.ToUpper(s.flag):
			name = s.flag
		default:
			name = "--" + s.flag
		}
		l.set(s, Source{Kind: "flag", Name: name}, l.o.Flags[key])
	}
}

// check looks at values and at what must fit together.
func (l *loader) check() {
	for i := range l.settings {
		if s := &l.settings[i]; s.check != nil {
			if err := s.check(); err != nil {
				l.fail(l.c.Source(s.key), s.key, err)
			}
		}
	}
	c := l.c
	if (c.Server.TLSCertFile == "") != (c.Server.TLSKeyFile == "") {
		key := "server.tls_cert_file"
		if c.Server.TLSCertFile == "" {
			key = "server.tls_key_file"
		}
		l.fail(c.Source(key), key, errors.New("TLS needs both server.tls_cert_file and server.tls_key_file"))
	}
	if s := &c.Sessions; s.TTL > s.MaxTTL {
		key := "sessions.ttl"
		if _, set := c.sources[key]; !set {
			key = "sessions.max_ttl"
		}
		l.fail(c.Source(key), key, fmt.Errorf("want a sessions.ttl of at most sessions.max_ttl, got %v and %v", s.TTL, s.MaxTTL))
	}
	l.checkFiles()
	l.checkEngine()
}

// checkEngine holds the engine against the build, and a GPU against the engine.
func (l *loader) checkEngine() {
	c := l.c
	switch m := &c.Model; {
	case m.UseGPU && !l.o.ONNXRuntime:
		l.fail(c.Source("model.use_gpu"), "model.use_gpu",
			errors.New("this build has no GPU engine: set it to 0, or use the build with ONNX Runtime (image tag :ort)"))
	case m.Engine == "onnxruntime" && !l.o.ONNXRuntime:
		l.fail(c.Source("model.engine"), "model.engine",
			errors.New("this build has no ONNX Runtime: set it to plan, or use the build with ONNX Runtime (image tag :ort)"))
	case m.UseGPU && m.Engine != "onnxruntime":
		if _, set := c.sources["model.engine"]; set {
			l.fail(c.Source("model.engine"), "model.engine",
				fmt.Errorf("model.use_gpu needs onnxruntime, got %s, which runs on the CPU", m.Engine))
			return
		}
		m.Engine = "onnxruntime"
	}
}

// notes says what an operator should know about a configuration that is valid.
func (l *loader) notes() []string {
	var notes []string
	var idle []string
	for _, s := range l.settings {
		if _, set := l.c.sources[s.key]; set && s.idle {
			idle = append(idle, s.key)
		}
	}
	if len(idle) > 0 {
		notes = append(notes, fmt.Sprintf("These settings are read and checked and have no effect yet: %s.", strings.Join(idle, ", ")))
	}
	if l.c.Exposed() && !l.c.HasKey() {
		notes = append(notes, fmt.Sprintf("The server listens on %s without an API key: whoever reaches the port may use the policy. Set API_KEY_FILE, or server.host to 127.0.0.1.", l.c.Server.Host))
	}
	if l.c.Server.AdminListen != "" && !l.adminKey {
		notes = append(notes, "server.admin_listen is set, and there is no key of the scope admin: the routes of admins are off. `carla-rl key new --scope admin` makes one.")
	}
	if l.shortKey {
		notes = append(notes, fmt.Sprintf("An API key is shorter than %d characters and can be guessed: `openssl rand -hex 16` makes a better one.", shortestKey))
	}
	if l.knownKey {
		notes = append(notes, fmt.Sprintf("An API key is the example's (%s...) and known to everyone: `openssl rand -hex 32` makes a better one.", placeholderKey))
	}
	if l.env["RELOAD"] != "" {
		notes = append(notes, "RELOAD is an option of the Python server and has no meaning here.")
	}
	return append(notes, l.nearVariables()...)
}

// nearVariables points at variables of the environment that are almost one of
// ours. They are no errors: the environment belongs to others too.
func (l *loader) nearVariables() []string {
	known := slices.Clone(otherVariables)
	for _, s := range l.settings {
		known = append(known, s.env)
	}
	var notes []string
	for _, name := range slices.Sorted(mapKeys(l.env)) {
		if len(name) < 7 || slices.Contains(known, name) {
			continue
		}
		for _, k := range known {
			if len(k) >= 7 && spelling.Distance(name, k) == 1 {
				notes = append(notes, fmt.Sprintf("The environment has %s, which is not read; did you mean %s?", name, k))
				break
			}
		}
	}
	return notes
}

// file finds and reads the file.
func (l *loader) file() {
	name, why := l.o.File, Source{Kind: "flag", Name: "--config"}
	if name == "" {
		name, why = strings.TrimSpace(l.env["CONFIG_FILE"]), Source{Kind: "environment", Name: "CONFIG_FILE"}
	}
	required := name != ""
	if name == "" {
		if name = l.o.DefaultFile; name == "" {
			name = DefaultFile
		}
	}
	data, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !required:
		return
	case err != nil && required && !l.o.alone:
		l.fail(why, "", fmt.Errorf("%s: %w", name, reason(err)))
		return
	case err != nil:
		l.fail(Source{Kind: "file", Name: name}, "", reason(err))
		return
	}
	l.c.File = name
	l.yaml(name, data)
}

func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// maxFileBytes bounds a configuration file: more than a ConfigMap can hold.
const maxFileBytes = 1 << 20

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", info.Size(), maxFileBytes)
	}
	return os.ReadFile(name)
}
