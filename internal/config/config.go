// Package config makes the settings of the server out of four sources: the
// defaults, a YAML file, the environment and the command line, each stronger
// than the one before.
//
// What enters are a file, an environment and flags; what leaves is a Config
// in which every value is checked and knows where it came from, or every
// mistake at once. The names of all settings stand in one table, table.go.
// The package knows no other package of this module but the one for spelling.
package config

import "time"

// Config holds every setting. Its fields are in the order of the reference.
type Config struct {
	Server       Server
	Model        Model
	Monitoring   Monitoring
	Security     Security
	Sessions     Sessions
	Drift        Drift
	Optimization Optimization
	Database     Database
	Experience   Experience
	Build        Build

	// File is the configuration file that was read, or "".
	File string

	sources    map[string]Source
	lanesFound bool // Server.Workers was 0 and is what the machine has
}

// Server is how requests come in.
type Server struct {
	Host       string // "unix:///path" is a Unix domain socket: SocketPath
	Port       int
	SocketMode string // of a Unix domain socket, in octal: Mode
	// AdminListen is where the routes of admins are answered, and nowhere else:
	// "host:port" or "unix:///path". Empty answers them where all others are.
	AdminListen string
	Workers     int // inference lanes
	LogLevel    string
	AccessLog   bool
	Console     bool // serve the page at /console

	TLSCertFile string
	TLSKeyFile  string

	TLSClientCAFile string
	TLSMinVersion   string // "1.2" or "1.3"

	MaxConnections      int
	MaxConnectionsPerIP int // 0 is no limit
	MaxHeaderSize       Size
	MaxBufferedBytes    Size
	MaxHeaderFields     int
	MaxRows             int
	MaxQueue            int
	HeaderTimeout       time.Duration
	BodyTimeout         time.Duration
	IdleTimeout         time.Duration
	WriteTimeout        time.Duration
	RequestTimeout      time.Duration
	MaxClockSkew        time.Duration
	MaxObservationAge   time.Duration
	MaxStreams          int
	MaxStreamMessage    Size
	StreamPing          time.Duration
	MaxAdminActs        int
	ReloadTimeout       time.Duration
	DrainDelay          time.Duration
	DrainAccept         time.Duration
	DrainTimeout        time.Duration
}

// Model is what is served.
type Model struct {
	ArtifactDir         string // "" is the embedded demo policy
	Version             string
	Default             string
	UseGPU              bool
	Engine              string // "plan", "onnxruntime" or "auto"
	ONNXRuntimeLibrary  string // "" looks for it
	GPUMemoryFraction   float64
	RequireHashes       bool
	MaxModels           int
	MaxVersions         int
	MaxModelSize        Size
	MaxPreprocessorSize Size
	Loaders             int           // 0 is as many as there are lanes
	PollInterval        time.Duration // 0 does not look
	QuarantineAfter     int           // 0 never does
	LoadTimeout         time.Duration
	MaxLoadMemory       Size // 0 is what the memory limit leaves
	MaxGraphNodes       int
}

// Monitoring is what the server tells of itself.
type Monitoring struct {
	EnableMetrics   bool
	MetricsPort     int // 0 is the port of the server
	EnableTracing   bool
	LogFormat       string // "auto", "json" or "text"
	LogFile         string
	LogFileMaxSize  Size
	LogFileMaxCount int
}

// Security is who may call.
type Security struct {
	APIKey         Secret
	APIKeyFile     string
	AdminKey       Secret
	AdminKeyFile   string
	KeysFile       string
	ReloadInterval time.Duration // 0 reads files once
	CORSOrigins    []string
	AllowedHosts   []string
	MaxRequestSize Size
	RateLimit      Rate
}

// Drift is how what is observed is held to the training.
type Drift struct {
	SampleEvery int // 0 measures nothing
	Window      time.Duration
	MaxFeatures int
}

// Sessions is how long and how many episodes are kept.
type Sessions struct {
	Max          int
	TTL          time.Duration
	MaxTTL       time.Duration
	MaxBytes     Size
	TokenKey     Secret // keys with commas between them
	TokenKeyFile string
	TokenTTL     time.Duration
	MaxTokenSize Size
}

// Optimization is how much runs together, and what is kept. Some of its
// settings are read and checked, and have no effect.
type Optimization struct {
	EnableMemoryPinning bool
	PinCores            string // "off", "auto" or a list
	CacheSize           int    // answers
	CacheMaxBytes       Size   // of all of them
	BatchSize           int    // rows that requests which run together may have
	MaxDelay            time.Duration
	Determinism         string // "strict" or "fast"
	EnableJIT           bool
	EnableAVX           bool
	EnableMKL           bool
}

// Database is where experience is kept: nowhere without a URL.
type Database struct {
	URL     Secret
	URLFile string
}

// Experience is how steps are recorded.
type Experience struct {
	Mode          string // "buffered" or "durable"
	OnFailure     string // "serve" or "stop"
	Sample        float64
	Buffer        Size
	FlushInterval time.Duration
	CommitTimeout time.Duration
	MaxAge        time.Duration // 0 keeps steps of any age
	MaxBytes      Size          // 0 keeps any number
	SpoolDir      string        // "" finds one, "off" has none
	SpoolSize     Size
}

// Build is what the image says of itself.
type Build struct {
	GitSHA string
}

// Default returns the configuration that holds where nothing else is said. Its
// Workers is 0, which Load replaces by the CPU quota.
func Default() *Config {
	return &Config{
		Server: Server{
			Host:             "127.0.0.1",
			SocketMode:       "0660",
			Port:             8080,
			LogLevel:         "info",
			Console:          true,
			TLSMinVersion:    "1.2",
			MaxConnections:   4096,
			MaxHeaderSize:    32 << 10,
			MaxBufferedBytes: 64 << 20,
			MaxHeaderFields:  100,
			MaxRows:          1000,
			MaxQueue:         1024,
			HeaderTimeout:    5 * time.Second,
			BodyTimeout:      30 * time.Second,
			IdleTimeout:      60 * time.Second,
			WriteTimeout:     3 * time.Second,
			RequestTimeout:   100 * time.Millisecond,
			MaxClockSkew:     time.Second, MaxObservationAge: time.Hour,
			MaxStreams:       1024,
			MaxStreamMessage: 8 << 20,
			StreamPing:       15 * time.Second,
			MaxAdminActs:     64,
			ReloadTimeout:    10 * time.Minute,
			DrainDelay:       0,
			DrainAccept:      300 * time.Millisecond,
			DrainTimeout:     30 * time.Second,
		},
		Model: Model{
			Engine:              "plan",
			GPUMemoryFraction:   1,
			MaxModels:           1024,
			MaxVersions:         16,
			MaxModelSize:        512 << 20,
			MaxPreprocessorSize: 64 << 20,
			PollInterval:        5 * time.Second,
			QuarantineAfter:     3,
			LoadTimeout:         time.Minute,
			MaxGraphNodes:       1 << 16,
		},
		Monitoring: Monitoring{
			EnableMetrics:   true,
			LogFormat:       "auto",
			LogFileMaxSize:  100 << 20,
			LogFileMaxCount: 5,
		},
		Security: Security{MaxRequestSize: 10 << 20, ReloadInterval: 5 * time.Second},
		Sessions: Sessions{
			Max:          10_000,
			TTL:          10 * time.Minute,
			MaxTTL:       24 * time.Hour,
			MaxBytes:     256 << 20,
			TokenTTL:     time.Hour,
			MaxTokenSize: 1 << 20,
		},
		Drift:        Drift{SampleEvery: 32, Window: 10 * time.Minute, MaxFeatures: 64},
		Optimization: Optimization{PinCores: "off", Determinism: "strict", BatchSize: 32, CacheMaxBytes: 32 << 20, EnableAVX: true},
		Experience: Experience{
			Mode: "buffered", OnFailure: "serve", Sample: 1, Buffer: 16 << 20,
			FlushInterval: 100 * time.Millisecond, CommitTimeout: time.Second, MaxBytes: 1 << 30, SpoolSize: 256 << 20,
		},
	}
}

// Source says where a value came from.
type Source struct {
	Kind string // "default", "file", "environment" or "flag"
	Name string // of the file, the variable or the flag
	Line int    // of the file
}

// Source returns where the value of a key such as "server.port" came from.
func (c *Config) Source(key string) Source {
	if s, ok := c.sources[key]; ok {
		return s
	}
	return Source{Kind: "default"}
}

// Exposed reports whether the server listens on more than the machine itself.
func (c *Config) Exposed() bool { return c.Server.SocketPath() == "" && !loopback(c.Server.Host) }

// AdminExposed reports whether server.admin_listen is more than the machine
// itself.
func (c *Config) AdminExposed() bool {
	host, _, path := c.Server.AdminAddress()
	return path == "" && host != "" && !loopback(host)
}

// HasKey reports whether clients must show an API key.
func (c *Config) HasKey() bool {
	return c.Security.APIKey.Reveal() != "" || c.Security.APIKeyFile != "" || c.Security.KeysFile != ""
}
