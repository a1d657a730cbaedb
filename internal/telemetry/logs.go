// Package telemetry makes what an operator watches: structured logs,
// Prometheus metrics and OpenTelemetry traces.
//
// What enters are settings; what leaves are a *slog.Logger, a Metrics whose
// observers are called on the way of a request, and a tracer. The package
// imports nothing of ours, and only the command imports it: others are handed
// what it makes as interfaces of their own.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// LogOptions say where logs go and what they hold.
type LogOptions struct {
	// Level is the least that is logged: debug, info, warn (or warning),
	// error (or critical, fatal), in any case. Empty is info.
	Level string
	// Format is "json" or "text"; empty is json. A file is always JSON lines.
	Format string
	// Output takes the logs when there is no File; nil is standard output.
	Output io.Writer

	// File is the path of a log file; empty logs to Output.
	File string
	// MaxSizeMB is the size at which the file is rotated; 0 is 100.
	MaxSizeMB int
	// MaxBackups is the number of rotated files kept; 0 is 5.
	MaxBackups int
	// MaxAgeDays is how long rotated files are kept; 0 is without end.
	MaxAgeDays int
}

// NewLogger returns a logger and what closes its file. A file that cannot be
// written is an error here, at the start, and not a silent loss later.
func NewLogger(o LogOptions) (*slog.Logger, io.Closer, error) {
	level, err := ParseLevel(o.Level)
	if err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: nameAttrs}
	if o.File != "" {
		f, err := openLogFile(o)
		if err != nil {
			return nil, nil, err
		}
		return slog.New(slog.NewJSONHandler(f, options)), f, nil
	}
	out := o.Output
	if out == nil {
		out = os.Stdout
	}
	switch strings.ToLower(strings.TrimSpace(o.Format)) {
	case "", "json":
		return slog.New(slog.NewJSONHandler(out, options)), noClose{}, nil
	case "text", "console":
		return slog.New(slog.NewTextHandler(out, options)), noClose{}, nil
	}
	return nil, nil, fmt.Errorf("log format %q: expected json or text", o.Format)
}

// ParseLevel reads the name of a level in any case, with the names of Python's
// logging among them.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "debug", "trace":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "critical", "fatal":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: expected debug, info, warning or error", name)
}

// nameAttrs gives the fixed members of a line the names that the ancestor's
// logs had, and its times UTC.
func nameAttrs(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		if l, ok := a.Value.Any().(slog.Level); ok && l > slog.LevelError {
			return slog.String(a.Key, slog.LevelWarn.String()) // a record that no level leaves out, and no error
		}
	case slog.TimeKey:
		if a.Value.Kind() == slog.KindTime {
			return slog.String("timestamp", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000000Z"))
		}
	}
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}

func openLogFile(o LogOptions) (io.WriteCloser, error) {
	const mode = 0o640
	f, err := os.OpenFile(filepath.Clean(o.File), os.O_APPEND|os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	info, err := f.Stat()
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open the log file: %s is no regular file", o.File)
	}
	l := &lumberjack.Logger{Filename: o.File, MaxSize: o.MaxSizeMB, MaxBackups: o.MaxBackups, MaxAge: o.MaxAgeDays}
	if l.MaxSize <= 0 {
		l.MaxSize = 100
	}
	if l.MaxBackups <= 0 {
		l.MaxBackups = 5
	}
	return l, nil
}

type noClose struct{}

func (noClose) Close() error { return nil }
